import type { Ipv4 } from '../../addr/ip.ts'
import { DecodeError, Reader } from '../io.ts'
import { type AsPath, mergeAs4Path, readAs4Path, readAsPath } from './as-path.ts'
import {
  type ExtendedCommunity,
  type LargeCommunity,
  readExtendedCommunity,
  type StandardCommunity,
} from './communities.ts'
import { BgpError } from './error.ts'
import type { AfiSafi } from './family.ts'
import { type MpReach, type MpUnreach, readMpReach, readMpUnreach } from './multiprotocol.ts'
import { NOTIFICATION, notification } from './notification.ts'
import { AS_TRANS } from './open.ts'

/** What an UPDATE says about its prefixes. What was not sent is not there. */
export type PathAttributes = {
  readonly origin?: Origin
  readonly asPath?: AsPath
  /** For the prefixes of the UPDATE's own field. Those of {@link mpReach} have theirs in it. */
  readonly nextHop?: Ipv4
  /** MULTI_EXIT_DISC, 32 bits. */
  readonly med?: number
  /** 32 bits; only among speakers of one AS. */
  readonly localPref?: number
  readonly atomicAggregate?: true
  readonly aggregator?: { readonly as: number; readonly ip: Ipv4 }
  readonly communities?: readonly StandardCommunity[]
  /** RFC 4456, only among speakers of one AS, as is the next. */
  readonly originatorId?: Ipv4
  readonly clusterList?: readonly Ipv4[]
  readonly mpReach?: MpReach
  readonly mpUnreach?: MpUnreach
  readonly extendedCommunities?: readonly ExtendedCommunity[]
  readonly largeCommunities?: readonly LargeCommunity[]
  /** Optional ones without a meaning here, transitive or not, in the order of their types. */
  readonly unknown?: readonly UnknownAttribute[]
}

export type Origin = 'igp' | 'egp' | 'incomplete'
export const ORIGINS = ['igp', 'egp', 'incomplete'] as const satisfies readonly Origin[]

export type UnknownAttribute = {
  /** 0 to 255, none of {@link ATTRIBUTE}. */
  readonly code: number
  readonly transitive: boolean
  /** Somebody on the way did not know it either. */
  readonly partial: boolean
  readonly value: Uint8Array
}

export const ATTRIBUTE = {
  origin: 1,
  asPath: 2,
  nextHop: 3,
  med: 4,
  localPref: 5,
  atomicAggregate: 6,
  aggregator: 7,
  communities: 8,
  originatorId: 9,
  clusterList: 10,
  mpReach: 14,
  mpUnreach: 15,
  extendedCommunities: 16,
  as4Path: 17,
  as4Aggregator: 18,
  largeCommunities: 32,
} as const

export const FLAG = { optional: 0x80, transitive: 0x40, partial: 0x20, extendedLength: 0x10 } as const

/** What the two OPENs and their addresses settled, as far as it changes how an UPDATE is written and read. */
export type UpdateContext = {
  /** Both sides have the capability of RFC 6793. */
  readonly fourOctetAs: boolean
  /** The peer is of our own AS: LOCAL_PREF and the attributes of route reflection mean something. */
  readonly internal: boolean
}

/** What RFC 7606 section 2 does about a malformed UPDATE, the gentlest first. What ends the session is thrown: see BgpError. */
export type Handling = 'attribute-discard' | 'treat-as-withdraw' | 'disable-family'

export type UpdateProblem = {
  readonly handling: Handling
  /** The attribute's type code. */
  readonly attribute: number
  readonly what: string
  /** With 'disable-family': whose routes are to be dropped and ignored for as long as the session lasts (RFC 4760 section 7). */
  readonly family?: AfiSafi
}

/** While it is being read. */
type Draft = { -readonly [K in keyof PathAttributes]: PathAttributes[K] } & {
  as4Path?: AsPath
  as4Aggregator?: { readonly as: number; readonly ip: Ipv4 }
}

type Rule = {
  readonly name: string
  /** Bits of {@link FLAG} that it must have, of the first two. */
  readonly flags: number
  /** For a malformed value. */
  readonly handling: Handling
  /** Discarded unless it comes in a session of this kind. */
  readonly only?: 'internal' | 'two-octet-as'
  readonly read: (r: Reader, draft: Draft, context: UpdateContext) => void
}

const WELL_KNOWN = FLAG.transitive
const OPTIONAL = FLAG.optional
const OPTIONAL_TRANSITIVE = FLAG.optional | FLAG.transitive

/** Handling: RFC 7606 section 7, but for communities of RFC 8092 its section 6 and for the last two of RFC 6793 its section 6. */
const RULES: Readonly<Record<number, Rule>> = {
  [ATTRIBUTE.origin]: rule('ORIGIN', WELL_KNOWN, 'treat-as-withdraw', (r, draft) => {
    const origin = ORIGINS[r.u8('value')]
    if (origin === undefined) throw r.error('bad-value', 'value', 'undefined origin')
    draft.origin = origin
  }),
  [ATTRIBUTE.asPath]: rule('AS_PATH', WELL_KNOWN, 'treat-as-withdraw', (r, draft, context) => {
    draft.asPath = readAsPath(r, context.fourOctetAs)
  }),
  [ATTRIBUTE.nextHop]: rule('NEXT_HOP', WELL_KNOWN, 'treat-as-withdraw', (r, draft) => {
    draft.nextHop = r.ipv4('address')
  }),
  [ATTRIBUTE.med]: rule('MULTI_EXIT_DISC', OPTIONAL, 'treat-as-withdraw', (r, draft) => {
    draft.med = r.u32('value')
  }),
  [ATTRIBUTE.localPref]: {
    ...rule('LOCAL_PREF', WELL_KNOWN, 'treat-as-withdraw', (r, draft) => {
      draft.localPref = r.u32('value')
    }),
    only: 'internal',
  },
  [ATTRIBUTE.atomicAggregate]: rule('ATOMIC_AGGREGATE', WELL_KNOWN, 'attribute-discard', (_, draft) => {
    draft.atomicAggregate = true
  }),
  [ATTRIBUTE.aggregator]: rule(
    'AGGREGATOR',
    OPTIONAL_TRANSITIVE,
    'attribute-discard',
    (r, draft, context) => {
      draft.aggregator = readAggregator(r, context.fourOctetAs)
    },
  ),
  [ATTRIBUTE.communities]: rule('COMMUNITIES', OPTIONAL_TRANSITIVE, 'treat-as-withdraw', (r, draft) => {
    draft.communities = some(r, 4, () => r.u32('community'))
  }),
  [ATTRIBUTE.originatorId]: {
    ...rule('ORIGINATOR_ID', OPTIONAL, 'treat-as-withdraw', (r, draft) => {
      draft.originatorId = r.ipv4('identifier')
    }),
    only: 'internal',
  },
  [ATTRIBUTE.clusterList]: {
    ...rule('CLUSTER_LIST', OPTIONAL, 'treat-as-withdraw', (r, draft) => {
      draft.clusterList = some(r, 4, () => r.ipv4('cluster'))
    }),
    only: 'internal',
  },
  [ATTRIBUTE.extendedCommunities]: rule(
    'EXTENDED COMMUNITIES',
    OPTIONAL_TRANSITIVE,
    'treat-as-withdraw',
    (r, draft) => {
      draft.extendedCommunities = some(r, 8, () => readExtendedCommunity(r))
    },
  ),
  [ATTRIBUTE.as4Path]: {
    ...rule('AS4_PATH', OPTIONAL_TRANSITIVE, 'attribute-discard', (r, draft) => {
      draft.as4Path = readAs4Path(r)
    }),
    only: 'two-octet-as',
  },
  [ATTRIBUTE.as4Aggregator]: {
    ...rule('AS4_AGGREGATOR', OPTIONAL_TRANSITIVE, 'attribute-discard', (r, draft) => {
      draft.as4Aggregator = readAggregator(r, true)
    }),
    only: 'two-octet-as',
  },
  [ATTRIBUTE.largeCommunities]: rule(
    'LARGE_COMMUNITY',
    OPTIONAL_TRANSITIVE,
    'treat-as-withdraw',
    (r, draft) => {
      draft.largeCommunities = some(r, 12, () => [
        r.u32('global administrator'),
        r.u32('local data 1'),
        r.u32('local data 2'),
      ])
    },
  ),
  [ATTRIBUTE.mpReach]: rule('MP_REACH_NLRI', OPTIONAL, 'disable-family', (r, draft) => {
    draft.mpReach = readMpReach(r)
  }),
  [ATTRIBUTE.mpUnreach]: rule('MP_UNREACH_NLRI', OPTIONAL, 'disable-family', (r, draft) => {
    draft.mpUnreach = readMpUnreach(r)
  }),
}

function rule(name: string, flags: number, handling: Handling, read: Rule['read']): Rule {
  return { name, flags, handling, read }
}

function readAggregator(r: Reader, fourOctets: boolean): { as: number; ip: Ipv4 } {
  const as = fourOctets ? r.u32('AS number') : r.u16('AS number')
  // RFC 7607.
  if (as === 0) throw r.error('bad-value', 'AS number', '0')
  return { as, ip: r.ipv4('address') }
}

/** One or more of `unit` bytes each. */
function some<T>(r: Reader, unit: number, read: () => T): T[] {
  if (r.remaining === 0 || r.remaining % unit !== 0) {
    throw r.error('bad-length', 'attribute length', `${r.remaining} is no multiple of ${unit}`)
  }
  const values: T[] = []
  while (r.remaining > 0) values.push(read())
  return values
}

/** The name that the RFC of an attribute gives it. */
export function attributeName(code: number): string {
  return RULES[code]?.name ?? `attribute ${code}`
}

/**
 * Reads the path attributes. What is wrong with them is added to `problems`, and what is wrong is not among the attributes.
 * @throws BgpError for what RFC 7606 still ends the session for: MP_REACH_NLRI or MP_UNREACH_NLRI twice or too short to name its
 *   family, and RFC 4271 section 6.3: an unknown attribute that claims to be well-known
 */
export function readAttributes(
  bytes: Uint8Array,
  context: UpdateContext,
  problems: UpdateProblem[],
): PathAttributes {
  const draft: Draft = {}
  const seen = new Set<number>()
  const unknown: UnknownAttribute[] = []
  let at = 0
  while (at < bytes.length) {
    const start = at
    const flags = bytes[at] ?? 0
    const long = (flags & FLAG.extendedLength) !== 0
    const headerLength = long ? 4 : 3
    const code = bytes[at + 1] ?? 0
    const length = long ? ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0) : (bytes[at + 2] ?? 0)
    at += headerLength + length
    if (at > bytes.length) {
      // RFC 7606 section 4: the NLRI field is found by the total length, so its prefixes can be withdrawn.
      problems.push({ handling: 'treat-as-withdraw', attribute: code, what: 'reaches beyond the attributes' })
      break
    }
    const value = bytes.subarray(start + headerLength, at)
    const known = RULES[code]
    if (seen.has(code)) {
      const { code: update, malformedAttributeList } = NOTIFICATION.update
      if (code === ATTRIBUTE.mpReach || code === ATTRIBUTE.mpUnreach) {
        const name = attributeName(code)
        throw new BgpError(
          'bad-value',
          name,
          'RFC 7606 section 3 g',
          'there twice',
          notification(update, malformedAttributeList),
        )
      }
      problems.push({ handling: 'attribute-discard', attribute: code, what: 'there twice' })
      continue
    }
    seen.add(code)
    if (known !== undefined)
      readKnown(known, code, flags, value, bytes.subarray(start, at), draft, context, problems)
    else if ((flags & FLAG.optional) === 0) {
      throw attributeError(
        NOTIFICATION.update.unrecognizedWellKnownAttribute,
        `attribute ${code}`,
        'well-known, but not to us',
        bytes.subarray(start, at),
      )
    } else {
      const transitive = (flags & FLAG.transitive) !== 0
      unknown.push({ code, transitive, partial: (flags & FLAG.partial) !== 0, value: Uint8Array.from(value) })
    }
  }
  if (unknown.length > 0) draft.unknown = unknown.sort((a, b) => a.code - b.code)
  return merged(draft)
}

function readKnown(
  known: Rule,
  code: number,
  flags: number,
  value: Uint8Array,
  whole: Uint8Array,
  draft: Draft,
  context: UpdateContext,
  problems: UpdateProblem[],
): void {
  const { name, handling, only, read } = known
  // Whatever it says: RFC 7606 sections 7.5, 7.9 and 7.10, RFC 6793 section 6.
  if ((only === 'internal' && !context.internal) || (only === 'two-octet-as' && context.fourOctetAs)) {
    problems.push({ handling: 'attribute-discard', attribute: code, what: 'not for this kind of session' })
    return
  }
  if ((flags & OPTIONAL_TRANSITIVE) !== known.flags) {
    // RFC 7606 section 3 c. Of the families' own attributes the prefixes are still needed, to withdraw them.
    problems.push({ handling: 'treat-as-withdraw', attribute: code, what: `flags 0x${flags.toString(16)}` })
    if (handling !== 'disable-family') return
  }
  const r = new Reader(value, name)
  try {
    const part: Draft = {}
    read(r, part, context)
    if (r.remaining > 0) {
      throw r.error('bad-length', 'attribute length', `${r.remaining} bytes too many`)
    }
    Object.assign(draft, part)
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error
    if (handling !== 'disable-family') {
      problems.push({ handling, attribute: code, what: error.message })
      return
    }
    // Too short for the smallest that there can be (RFC 7606 sections 5.3 and 7.11, 7.12): nobody knows which family is meant.
    const least = code === ATTRIBUTE.mpReach ? 5 : 3
    if (value.length < least) {
      throw attributeError(NOTIFICATION.update.optionalAttribute, name, `${value.length} bytes`, whole)
    }
    const family = { afi: ((value[0] ?? 0) << 8) | (value[1] ?? 0), safi: value[2] ?? 0 }
    problems.push({ handling, attribute: code, what: error.message, family })
  }
}

/** RFC 4271 section 6.3: the data is the attribute itself, with type and length. */
function attributeError(subcode: number, name: string, what: string, whole: Uint8Array): BgpError {
  const data = whole.slice(0, 4096 - 21)
  return new BgpError(
    'bad-value',
    name,
    'RFC 4271 section 6.3',
    what,
    notification(NOTIFICATION.update.code, subcode, data),
  )
}

/** RFC 6793 section 4.2.3: AS numbers of four octets come in attributes of their own through a speaker that has only two. */
function merged({ as4Path, as4Aggregator, ...rest }: Draft): PathAttributes {
  const { asPath, aggregator } = rest
  if (aggregator !== undefined && as4Aggregator !== undefined) {
    // An aggregator that fits in two octets came later than both of the attributes, which so mean nothing.
    if (aggregator.as !== AS_TRANS) return rest
    rest.aggregator = as4Aggregator
  }
  if (asPath !== undefined && as4Path !== undefined) rest.asPath = mergeAs4Path(asPath, as4Path)
  return rest
}
