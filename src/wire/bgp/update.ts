import type { Prefix } from '../../addr/prefix.ts'
import { Reader, type Writer } from '../io.ts'
import {
  ATTRIBUTE,
  attributeName,
  type PathAttributes,
  readAttributes,
  type UpdateContext,
  type UpdateProblem,
} from './attributes.ts'
import { writeAttributes } from './attributes-writer.ts'
import { answering, BgpError } from './error.ts'
import { type AfiSafi, IPV4_UNICAST, unicast } from './family.ts'
import { readPrefixes, writePrefix } from './nlri.ts'
import { NOTIFICATION, notification } from './notification.ts'

/** Routes that come and go (RFC 4271 section 4.3). IPv4 unicast has fields of its own, the other families are in the attributes. */
export type Update = {
  readonly type: 'update'
  readonly withdrawn: readonly Prefix[]
  readonly attributes: PathAttributes
  readonly announced: readonly Prefix[]
}

/** As it was received: what is malformed has been left out of it, and `problems` says what is to be done about that. */
export type ReceivedUpdate = Update & { readonly problems: readonly UpdateProblem[] }

/** What an UPDATE does to the routes of its sender, with RFC 7606 applied. */
export type RouteChanges = {
  /** Of both families. */
  readonly announced: readonly Prefix[]
  readonly withdrawn: readonly Prefix[]
  /** Their routes are to be dropped, and ignored until the session ends. */
  readonly disabled: readonly AfiSafi[]
  /** The sender has told all that it has of this family (RFC 4724 section 2). */
  readonly endOfRib: AfiSafi | null
}

/**
 * Handles errors as RFC 7606 says. @param body what follows the header.
 * @throws BgpError where nothing but the end of the session is left
 */
export function decodeUpdate(body: Uint8Array, context: UpdateContext): ReceivedUpdate {
  const { code, malformedAttributeList, invalidNetworkField } = NOTIFICATION.update
  const parts = answering(notification(code, malformedAttributeList), () => {
    const r = new Reader(body, 'RFC 4271 section 4.3')
    const withdrawn = r.view('withdrawn routes', r.u16('withdrawn routes length'))
    const attributes = r.view('path attributes', r.u16('total path attribute length'))
    return { withdrawn, attributes, announced: r.rest() }
  })
  const prefixes = (bytes: Uint8Array, field: string): readonly Prefix[] => {
    // RFC 7606 section 5.3: nobody can tell which prefixes are meant.
    return answering(notification(code, invalidNetworkField), () =>
      readPrefixes(new Reader(bytes, field), 'IPv4'),
    )
  }
  const withdrawn = prefixes(parts.withdrawn, 'withdrawn routes')
  const announced = prefixes(parts.announced, 'network layer reachability information')
  const problems: UpdateProblem[] = []
  const attributes = readAttributes(parts.attributes, context, problems)
  problems.push(...missing(attributes, announced, context, problems))
  assertReachable(attributes, announced, problems)
  return { type: 'update', withdrawn, attributes, announced, problems }
}

/** RFC 4271 section 6.3, RFC 7606 section 3 d: each that a reachable prefix must have. */
function missing(
  attributes: PathAttributes,
  announced: readonly Prefix[],
  context: UpdateContext,
  problems: readonly UpdateProblem[],
): UpdateProblem[] {
  const { origin, asPath, nextHop, localPref, mpReach } = attributes
  if (announced.length === 0 && mpReach === undefined) return []
  const wanted: [number, boolean][] = [
    [ATTRIBUTE.origin, origin === undefined],
    [ATTRIBUTE.asPath, asPath === undefined],
    [ATTRIBUTE.nextHop, announced.length > 0 && nextHop === undefined],
    [ATTRIBUTE.localPref, context.internal && localPref === undefined],
  ]
  return wanted
    .filter(([attribute, lacking]) => lacking && !problems.some(each => each.attribute === attribute))
    .map(([attribute]) => ({ handling: 'treat-as-withdraw', attribute, what: 'missing' }))
}

/**
 * RFC 7606 section 5.2: where attributes that are wrong go with no reachable prefix, prefixes may have been lost that should now be
 * withdrawn. Those of a family that is disabled go anyway.
 */
function assertReachable(
  attributes: PathAttributes,
  announced: readonly Prefix[],
  problems: readonly UpdateProblem[],
): void {
  const { mpReach } = attributes
  const reachable =
    announced.length > 0 ||
    mpReach?.type === 'other' ||
    (mpReach !== undefined && mpReach.prefixes.length > 0)
  if (reachable || problems.some(each => each.attribute === ATTRIBUTE.mpReach && each.family !== undefined))
    return
  const worst = problems.find(({ handling }) => handling === 'treat-as-withdraw')
  if (worst === undefined) return
  const { code, malformedAttributeList } = NOTIFICATION.update
  throw new BgpError(
    'bad-value',
    attributeName(worst.attribute),
    'RFC 7606 section 5.2',
    `${worst.what}, and no reachable prefix`,
    notification(code, malformedAttributeList),
  )
}

/** What is left to do with a received UPDATE. */
export function routeChanges(update: ReceivedUpdate): RouteChanges {
  const { attributes, problems } = update
  const { mpReach, mpUnreach } = attributes
  const disabled = problems.flatMap(({ family }) => (family === undefined ? [] : [family]))
  const announced = [...update.announced, ...(mpReach?.type === 'unicast' ? mpReach.prefixes : [])]
  const gone = [...update.withdrawn, ...(mpUnreach?.type === 'unicast' ? mpUnreach.prefixes : [])]
  const treatAsWithdraw = problems.some(({ handling }) => handling === 'treat-as-withdraw')
  // A prefix in both is announced (RFC 4271 section 4.3).
  const again = new Set(treatAsWithdraw ? [] : announced)
  const withdrawn = gone.filter(prefix => !again.has(prefix))
  if (treatAsWithdraw) withdrawn.push(...announced)
  return {
    announced: treatAsWithdraw ? [] : announced,
    withdrawn,
    disabled,
    endOfRib: problems.length > 0 ? null : endOfRibOf(update),
  }
}

/** RFC 4724 section 2: of IPv4 an UPDATE with nothing in it, of others one with nothing but an MP_UNREACH_NLRI without prefixes. */
export function endOfRibOf({ withdrawn, announced, attributes }: Update): AfiSafi | null {
  if (withdrawn.length > 0 || announced.length > 0) return null
  const { mpUnreach, ...others } = attributes
  if (Object.keys(others).length > 0) return null
  if (mpUnreach === undefined) return IPV4_UNICAST
  if (mpUnreach.type === 'other') return mpUnreach.bytes.length === 0 ? mpUnreach.family : null
  return mpUnreach.prefixes.length === 0 ? unicast(mpUnreach.family) : null
}

/** The End-of-RIB marker of a family. */
export function endOfRib(family: AfiSafi): Update {
  const empty = { type: 'update', withdrawn: [], announced: [] } as const
  if (family.afi === IPV4_UNICAST.afi && family.safi === IPV4_UNICAST.safi)
    return { ...empty, attributes: {} }
  const mpUnreach = unicastFamilyUnreach(family)
  return { ...empty, attributes: { mpUnreach } }
}

function unicastFamilyUnreach(family: AfiSafi) {
  return family.afi === 2 && family.safi === 1
    ? ({ type: 'unicast', family: 'IPv6', prefixes: [] } as const)
    : ({ type: 'other', family, bytes: new Uint8Array(0) } as const)
}

export function writeUpdate(w: Writer, update: Update, context: UpdateContext): void {
  const withdrawnAt = w.length
  w.u16(0)
  for (const prefix of update.withdrawn) writePrefix(w, prefix)
  w.patchU16(withdrawnAt, w.length - withdrawnAt - 2)
  const attributesAt = w.length
  w.u16(0)
  writeAttributes(w, update.attributes, context)
  w.patchU16(attributesAt, w.length - attributesAt - 2)
  for (const prefix of update.announced) writePrefix(w, prefix)
}
