import { fieldsOf } from '../config/fields.ts'
import type { Problem } from '../config/model.ts'
import { type ConfigResources, parseConfig } from '../config/parse.ts'
import type { KubeObject } from '../ports/kube.ts'
import type { AdmissionRequest, Verdict } from './envelope.ts'

/** Kinds that are validated, and where parseConfig takes their objects from. */
export const REVIEWED = {
  IPAddressPool: 'pools',
  L2Advertisement: 'l2Advertisements',
  BGPAdvertisement: 'bgpAdvertisements',
  BGPPeer: 'bgpPeers',
  BFDProfile: 'bfdProfiles',
  Community: 'communities',
} as const satisfies Record<string, keyof ConfigResources>

export type ReviewedKind = keyof typeof REVIEWED

/** What the verdicts are made from: the objects of the own namespace as they are now. Secrets are not looked at (1.3). */
export type ReviewResources = Required<Omit<ConfigResources, 'secrets'>>

/** More warnings and longer ones are cut by the API server. */
const WARNINGS_MAX = 20
const WARNING_LENGTH_MAX = 250

const ALLOWED: Verdict = { allowed: true, message: '', warnings: [] }

/**
 * Whether the object may be written, by the same parser that the controller and the speakers run, and with its sentences.
 *
 * Only problems that the object brings deny it: those that are there with it and not without it. What was broken before
 * and has nothing to do with it is no reason. Among them, problems of objects of its own kind deny; problems that it makes
 * for objects of other kinds, and those that may pass when another object arrives (V-2), are warnings, so that the order of
 * `kubectl apply` does not matter.
 */
export function decide(
  request: AdmissionRequest,
  kind: ReviewedKind,
  resources: ReviewResources,
  ownNamespace: string,
): Verdict {
  const { operation, namespace, object, oldObject } = request
  if (operation === 'DELETE') {
    return kind === 'BFDProfile' && namespace === ownNamespace
      ? decideProfileDeletion(request.name, resources)
      : ALLOWED
  }
  if (object === undefined || operation === 'CONNECT') return ALLOWED
  if (namespace !== ownNamespace) {
    const where = `only objects in the namespace ${ownNamespace} are read, and this one is in ${namespace}`
    return operation === 'CREATE'
      ? { allowed: false, message: where, warnings: [] }
      : { ...ALLOWED, warnings: [where] }
  }
  // Nobody must be kept from taking a finalizer off a broken object, or from annotating it.
  if (object.metadata.deletionTimestamp !== undefined) return ALLOWED
  if (oldObject !== undefined && saysTheSame(object, oldObject)) return ALLOWED

  const name = shownName(object)
  const reviewed = { ...object, metadata: { ...object.metadata, name } }
  const list = REVIEWED[kind]
  const others = resources[list].filter(other => other.metadata.name !== name)
  const before = new Set(problemsOf({ ...resources, [list]: others }).map(identity))
  const brought = problemsOf({ ...resources, [list]: [...others, reviewed] }).filter(
    problem => !before.has(identity(problem)),
  )
  const sentence = ({ object: about, message }: Problem): string =>
    about.kind === kind && about.name === name ? message : `${about.kind} ${about.name}: ${message}`
  const denies = ({ object: about, severity }: Problem): boolean =>
    severity === 'error' && about.kind === kind
  const reasons = brought.filter(denies).map(sentence)
  const warnings = brought.filter(problem => !denies(problem)).map(sentence)
  return {
    allowed: reasons.length === 0,
    message: reasons.join('; '),
    warnings: warnings.slice(0, WARNINGS_MAX).map(warning => warning.slice(0, WARNING_LENGTH_MAX)),
  }
}

function decideProfileDeletion(name: string, { bgpPeers }: ReviewResources): Verdict {
  const users = bgpPeers
    .filter(peer => fieldsOf(peer['spec'])['bfdProfile'] === name)
    .map(peer => peer.metadata.name)
    .sort()
  if (users.length === 0) return ALLOWED
  const peers = `BGPPeer${users.length === 1 ? '' : 's'} ${users.join(', ')}`
  return {
    allowed: false,
    message: `BFDProfile ${name} is used by ${peers}; change that first`,
    warnings: [],
  }
}

function problemsOf(resources: ConfigResources): readonly Problem[] {
  const parsed = parseConfig(resources)
  return 'config' in parsed ? parsed.warnings : parsed.problems
}

function identity({ object, code, field, message, severity }: Problem): string {
  return JSON.stringify([object.kind, object.namespace, object.name, code, field, message, severity])
}

/** An object that the API server has yet to name counts under what it will begin with. */
function shownName({ metadata }: KubeObject): string {
  if (typeof metadata.name === 'string' && metadata.name !== '') return metadata.name
  return typeof metadata.generateName === 'string' ? metadata.generateName : ''
}

/** Spec and labels decide; the rest is for others. */
function saysTheSame(a: KubeObject, b: KubeObject): boolean {
  return (
    a.metadata.name === b.metadata.name &&
    equal(a['spec'], b['spec']) &&
    equal(a.metadata.labels ?? {}, b.metadata.labels ?? {})
  )
}

/** Equality of plain JSON. */
function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const [left, right] = [Object.entries(a), b as Readonly<Record<string, unknown>>]
  return (
    left.length === Object.keys(b).length &&
    left.every(([key, value]) => Object.hasOwn(right, key) && equal(value, right[key]))
  )
}
