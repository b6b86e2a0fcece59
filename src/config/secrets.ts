import type { KubeObject } from '../ports/kube.ts'
import { fieldsOf, textOf } from './fields.ts'

/** A Secret without its content. */
export type SecretFacts = {
  readonly namespace: string
  readonly name: string
  readonly type: string
  /** It has a value under `password`, be it empty. */
  readonly hasPassword: boolean
}

export const BASIC_AUTH = 'kubernetes.io/basic-auth'

/** Total: a malformed field counts as absent. */
export function secretFromObject(object: KubeObject): SecretFacts {
  return {
    namespace: object.metadata.namespace ?? '',
    name: object.metadata.name,
    type: textOf(object['type']) ?? 'Opaque',
    hasPassword: passwordIn(object) !== undefined,
  }
}

/**
 * Passwords of the peers for whoever opens their sessions, by name of the peer; peers without one are left out, as are those
 * whose Secret is missing or no good (parseConfig reports them). Kept apart from Config so that it can be logged and compared.
 */
export function bgpPasswords(
  peers: readonly KubeObject[],
  secrets: readonly KubeObject[],
): ReadonlyMap<string, string> {
  const passwords = new Map<string, string>()
  for (const peer of peers) {
    const spec = fieldsOf(peer['spec'])
    const wanted = fieldsOf(spec['passwordSecret'])
    const secret = secrets.find(({ metadata }) => metadata.name === wanted['name'])
    const password = textOf(spec['password']) ?? (secret === undefined ? undefined : passwordIn(secret))
    if (password !== undefined) passwords.set(peer.metadata.name, password)
  }
  return passwords
}

/** stringData is what a manifest may hold; the API server turns it into data. */
function passwordIn(secret: KubeObject): string | undefined {
  const plain = fieldsOf(secret['stringData'])['password']
  if (typeof plain === 'string') return plain
  const encoded = fieldsOf(secret['data'])['password']
  if (typeof encoded !== 'string') return undefined
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(encoded), char => char.charCodeAt(0)))
  } catch {
    // Not base64, which the API server never returns: as good as no password.
    return undefined
  }
}
