import { familyOf, type Ip, isIpv4, parseIp } from '../addr/ip.ts'
import type { KubeObject } from '../ports/kube.ts'
import { convertBgpPeer, V1BETA1_FIELDS } from './conversion.ts'
import { parseDurationMs } from './duration.ts'
import { fieldsOf } from './fields.ts'
import type { BfdProfile, BgpPeer, ObjectRef } from './model.ts'
import type { NodeFacts } from './nodes.ts'
import { Reader, specReader } from './reader.ts'
import { canonicalText, type Place, type Report, refTo, shown } from './report.ts'
import { BASIC_AUTH, type SecretFacts } from './secrets.ts'
import { selectNodes } from './selection.ts'

export type PeerSurroundings = {
  readonly nodes: readonly NodeFacts[]
  readonly bfdProfiles: readonly BfdProfile[]
  /** undefined: Secrets are not read. */
  readonly secrets: readonly SecretFacts[] | undefined
}

/** A peer whose address or AS number is wrong has no BgpPeer, but a report. */
export type ParsedPeer = {
  readonly object: ObjectRef
  readonly peer: BgpPeer | undefined
  /** Equal for peers whose specs say the same. */
  readonly specText: string
}

/** Rules V-30 to V-35. Takes either version. */
export function parsePeer(source: KubeObject, around: PeerSurroundings, report: Report): ParsedPeer {
  const ref = refTo('BGPPeer', source)
  const place = report.at(ref)
  const object = upgraded(source, place)
  const spec = specReader(object, place, { required: true })
  const nodes = selectNodes(spec, around.nodes)
  const asn = parseAsn(spec)
  const target = parseTarget(spec)
  const sourceAddress = parseAddress(spec, 'sourceAddress')
  const routerId = parseAddress(spec, 'routerID')
  if (routerId !== undefined && !isIpv4(routerId)) {
    place(
      spec.at('routerID'),
      'address-unparsable',
      `routerID ${routerId} is no IPv4 address; a BGP identifier has 32 bits`,
    )
  }
  if (target?.type === 'address' && sourceAddress !== undefined) {
    const [from, to] = [familyOf(sourceAddress), familyOf(target.address)]
    if (from !== to) {
      place(
        spec.at('sourceAddress'),
        'field-ignored',
        `no session can go from ${sourceAddress} to ${target.address}: one is ${from}, the other ${to}`,
        'warning',
      )
    }
  }
  const rest = {
    name: ref.name,
    nodes: new Set(nodes.map(({ name }) => name)),
    localAsn: spec.integer('localASN', 1, MAX_ASN),
    sourceAddress,
    // 0 is how v1beta1 says "not set".
    port: spec.integer('peerPort', 0, 16384) || 179,
    ...parseTimers(spec),
    routerId,
    password: parsePassword(spec, ref, around.secrets),
    bfdProfile: parseBfdProfileName(spec, around.bfdProfiles),
    gracefulRestart: spec.boolean('enableGracefulRestart', false),
    ebgpMultiHop: spec.boolean('ebgpMultiHop', false),
    vrf: spec.text('vrf'),
    dualStack: spec.boolean('dualStackAddressFamily', false),
  }
  if (spec.boolean('disableMP', false)) {
    place(
      spec.at('disableMP'),
      'field-ignored',
      'disableMP is deprecated and has no effect: a session carries its own family unless dualStackAddressFamily is set',
      'warning',
    )
  }
  spec.done()
  const specText = canonicalText(object['spec'])
  if (asn === undefined || target === undefined) return { object: ref, peer: undefined, specText }
  if (rest.ebgpMultiHop && asn.peerAsn === asn.myAsn) {
    place(
      spec.at('ebgpMultiHop'),
      'multihop-internal',
      `ebgpMultiHop is for peers of another AS, and this peer is of ours (${asn.myAsn}); leave it out`,
    )
  } else if (rest.ebgpMultiHop && asn.peerAsn === 'internal') {
    place(
      spec.at('ebgpMultiHop'),
      'field-ignored',
      'ebgpMultiHop has no effect with dynamicASN internal: peers of our own AS may be any number of hops away',
      'warning',
    )
  }
  return { object: ref, peer: { ...rest, ...asn, target }, specText }
}

const MAX_ASN = 0xffff_ffff

function upgraded(source: KubeObject, place: Place): KubeObject {
  if (source.apiVersion !== 'metallb.io/v1beta1') return source
  const known = new Set<string>(V1BETA1_FIELDS)
  for (const name of Object.keys(fieldsOf(source['spec']))) {
    if (!known.has(name)) {
      place(
        `spec.${name}`,
        'field-unknown',
        `there is no field spec.${name} in v1beta1, so the API server drops it; use metallb.io/v1beta2`,
        'warning',
      )
    }
  }
  const isObject = typeof source['spec'] === 'object' && !Array.isArray(source['spec'])
  return isObject ? convertBgpPeer(source, 'v1beta2') : source
}

/** V-30. */
function parseAsn(spec: Reader): Pick<BgpPeer, 'myAsn' | 'peerAsn'> | undefined {
  const myAsn = spec.integer('myASN', 0, MAX_ASN)
  const fixed = spec.integer('peerASN', 0, MAX_ASN) || undefined
  const dynamic = spec.oneOf('dynamicASN', ['internal', 'external'])
  if (!spec.has('myASN'))
    spec.place(spec.at('myASN'), 'field-missing', 'myASN is missing; give our AS number')
  else if (myAsn === 0) {
    spec.place(spec.at('myASN'), 'asn-invalid', 'myASN is 0, which is no AS number; give ours')
  }
  if (fixed !== undefined && dynamic !== undefined) {
    spec.place(
      spec.at('dynamicASN'),
      'fields-exclusive',
      `peerASN ${fixed} and dynamicASN ${dynamic} exclude each other; remove one`,
    )
  }
  const peerAsn = fixed ?? dynamic
  if (peerAsn === undefined && isUnset(spec, 'peerASN') && isUnset(spec, 'dynamicASN')) {
    spec.place(
      spec.at('peerASN'),
      'field-missing',
      'neither peerASN nor dynamicASN is set; give one of them, peerASN above 0',
    )
  }
  return myAsn === undefined || myAsn === 0 || peerAsn === undefined ? undefined : { myAsn, peerAsn }
}

function isUnset(spec: Reader, name: string): boolean {
  const value = spec.raw(name)
  return value === undefined || value === 0 || value === ''
}

/** V-32. */
function parseTarget(spec: Reader): BgpPeer['target'] | undefined {
  const address = parseAddress(spec, 'peerAddress')
  const device = spec.text('interface')
  if (!isUnset(spec, 'peerAddress') && device !== undefined) {
    spec.place(
      spec.at('interface'),
      'fields-exclusive',
      `peerAddress ${shown(spec.raw('peerAddress'))} and interface ${shown(device)} exclude each other; remove one`,
    )
  }
  if (address !== undefined) return { type: 'address', address }
  if (device !== undefined) return { type: 'interface', interface: device }
  if (isUnset(spec, 'peerAddress') && isUnset(spec, 'interface')) {
    spec.place(
      spec.at('peerAddress'),
      'field-missing',
      'neither peerAddress nor interface is set; give one of them',
    )
  }
  return undefined
}

function parseAddress(spec: Reader, name: string): Ip | undefined {
  const text = spec.text(name)
  if (text === undefined) return undefined
  const ip = parseIp(text)
  if (ip === undefined) {
    const hint = text.includes('%')
      ? '; for a link-local peer give its interface in place of peerAddress'
      : ''
    spec.place(spec.at(name), 'address-unparsable', `${name} ${shown(text)} is no IP address${hint}`)
  }
  return ip
}

type Timers = Pick<BgpPeer, 'holdTimeMs' | 'keepaliveTimeMs' | 'connectTimeMs'>

/** V-33: the hold time counts in whole seconds, as it does in the OPEN message. */
function parseTimers(spec: Reader): Timers {
  const hold = parseTime(spec, 'holdTime')
  const keepalive = parseTime(spec, 'keepaliveTime')
  const connectTimeMs = parseTime(spec, 'connectTime')
  if (connectTimeMs !== undefined) {
    const inRange = connectTimeMs >= 1000 && connectTimeMs <= 65_535_000
    if (!inRange || connectTimeMs % 1000 !== 0) {
      spec.place(
        spec.at('connectTime'),
        'timers-invalid',
        `connectTime is ${shown(spec.raw('connectTime'))}; it must be whole seconds, from 1s to 65535s`,
      )
    }
  }
  const unset = { holdTimeMs: undefined, keepaliveTimeMs: undefined, connectTimeMs }
  const wanted = hold ?? (keepalive === undefined ? undefined : 3 * keepalive)
  if (wanted === undefined) return unset
  const holdTimeMs = Math.trunc(wanted / 1000) * 1000
  const described =
    hold === undefined
      ? `keepaliveTime ${shown(spec.raw('keepaliveTime'))} makes a hold time of three times that, which`
      : `holdTime ${shown(spec.raw('holdTime'))}`
  if (wanted < 0 || (holdTimeMs !== 0 && holdTimeMs < 3000)) {
    spec.place(
      spec.at(hold === undefined ? 'keepaliveTime' : 'holdTime'),
      'timers-invalid',
      `${described} is below the 3s that BGP allows; use 3s or more, or 0s to send no keepalives`,
    )
    return unset
  }
  if (keepalive !== undefined && (keepalive > wanted || keepalive < 0)) {
    spec.place(
      spec.at('keepaliveTime'),
      'timers-invalid',
      `keepaliveTime ${shown(spec.raw('keepaliveTime'))} must be from 0s to the holdTime, ${shown(spec.raw('holdTime'))}`,
    )
    return unset
  }
  if (holdTimeMs === 0) {
    if (wanted !== 0) {
      spec.place(
        spec.at(hold === undefined ? 'keepaliveTime' : 'holdTime'),
        'timers-invalid',
        `${described} is less than a second and counts as 0: a dead peer is not noticed; use 3s or more`,
        'warning',
      )
    }
    return { holdTimeMs, keepaliveTimeMs: 0, connectTimeMs }
  }
  // Without keepalives the peer would end the session after every hold time.
  const keepaliveTimeMs = keepalive || wanted / 3
  if (keepalive === 0) {
    spec.place(
      spec.at('keepaliveTime'),
      'timers-invalid',
      `keepaliveTime 0 with a holdTime of ${shown(spec.raw('holdTime'))} counts as not set: a third of it is used`,
      'warning',
    )
  }
  return { holdTimeMs, keepaliveTimeMs: Math.min(keepaliveTimeMs, holdTimeMs), connectTimeMs }
}

function parseTime(spec: Reader, name: string): number | undefined {
  const text = spec.text(name)
  if (text === undefined) return undefined
  const ms = parseDurationMs(text)
  if (ms === undefined) {
    spec.place(
      spec.at(name),
      'field-type',
      `${spec.at(name)} is ${shown(text)}; it must be a duration such as 90s or 1m30s`,
    )
  }
  return ms
}

/** V-34. */
function parsePassword(
  spec: Reader,
  ref: ObjectRef,
  secrets: readonly SecretFacts[] | undefined,
): BgpPeer['password'] {
  const inSpec = spec.text('password') !== undefined
  const fields = new Reader(spec.raw('passwordSecret'), spec.at('passwordSecret'), spec.place)
  const name = fields.text('name')
  const namespace = fields.text('namespace') ?? ref.namespace
  fields.done()
  if (name === undefined) return inSpec ? { from: 'spec' } : undefined
  if (inSpec) {
    spec.place(
      spec.at('passwordSecret'),
      'fields-exclusive',
      `password and passwordSecret ${shown(name)} exclude each other; remove one`,
    )
  }
  if (secrets !== undefined) checkSecret(fields, name, ref, secrets)
  return { from: 'secret', namespace, name }
}

/** The Secret is looked for where the peer is, whatever namespace the reference names, as MetalLB does it. */
function checkSecret(fields: Reader, name: string, ref: ObjectRef, secrets: readonly SecretFacts[]): void {
  const where = ref.namespace === '' ? '' : ` in the namespace ${ref.namespace}`
  const secret = secrets.find(
    ({ name: other, namespace }) =>
      other === name && (namespace === ref.namespace || namespace === '' || ref.namespace === ''),
  )
  if (secret === undefined) {
    fields.place(
      fields.at('name'),
      'secret-missing',
      `there is no Secret ${shown(name)}${where}; create it with type ${BASIC_AUTH} and the key password`,
      'transient',
    )
  } else if (secret.type !== BASIC_AUTH) {
    fields.place(
      fields.at('name'),
      'secret-invalid',
      `the Secret ${shown(name)}${where} has the type ${secret.type}; it must have ${BASIC_AUTH}`,
    )
  } else if (!secret.hasPassword) {
    fields.place(
      fields.at('name'),
      'secret-invalid',
      `the Secret ${shown(name)}${where} has no key password; add it`,
    )
  }
}

/** V-35. */
function parseBfdProfileName(spec: Reader, profiles: readonly BfdProfile[]): string | undefined {
  const wanted = spec.text('bfdProfile')
  if (wanted !== undefined && !profiles.some(({ name }) => name === wanted)) {
    spec.place(
      spec.at('bfdProfile'),
      'bfd-profile-missing',
      `there is no BFDProfile named ${shown(wanted)}; create it or correct the name`,
      'transient',
    )
  }
  return wanted
}

/**
 * V-36: no two peers with equal specs. And, of what V-41 refuses for FRR, the one thing that no router takes: two sessions from one node
 * to the same neighbour, which it would tell apart by nothing.
 */
export function reportPeerConflicts(
  peers: readonly ParsedPeer[],
  nodes: readonly NodeFacts[],
  report: Report,
): void {
  const bySpec = new Map<string, ParsedPeer>()
  const bySession = new Map<string, ParsedPeer[]>()
  for (const parsed of peers) {
    const equal = bySpec.get(parsed.specText)
    if (equal !== undefined) {
      report.at(parsed.object)(
        'spec',
        'peer-duplicate',
        `this says the same as the BGPPeer ${shown(equal.object.name)}; remove one of them`,
      )
      continue
    }
    bySpec.set(parsed.specText, parsed)
    const { peer } = parsed
    if (peer === undefined) continue
    const session = sessionText(peer)
    const others = bySession.get(session) ?? []
    for (const other of others) {
      if (other.peer === undefined || !shareNode(peer, other.peer, nodes)) continue
      report.at(parsed.object)(
        'spec',
        'peer-conflict',
        `the BGPPeer ${shown(other.object.name)} already is a session to ${sessionText(peer)} on the same node; ` +
          'merge them, or give them nodeSelectors that no node meets both of',
      )
    }
    bySession.set(session, [...others, parsed])
  }
}

function sessionText({ target, port, vrf, sourceAddress }: BgpPeer): string {
  const to =
    target.type === 'address' ? `${target.address} port ${port}` : `the interface ${target.interface}`
  const from = sourceAddress === undefined ? '' : ` from ${sourceAddress}`
  return `${to}${vrf === undefined ? '' : ` in the VRF ${vrf}`}${from}`
}

/** Without known nodes they are taken to share one. */
function shareNode(a: BgpPeer, b: BgpPeer, nodes: readonly NodeFacts[]): boolean {
  return nodes.length === 0 || [...a.nodes].some(name => b.nodes.has(name))
}
