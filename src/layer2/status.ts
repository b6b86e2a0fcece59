import type { KubeObject } from '../ports/kube.ts'

/** A ServiceL2Status object, as far as one speaker looks at it. */
export type L2StatusFacts = {
  readonly namespace: string
  readonly name: string
  readonly node: string
  /** `namespace/name` */
  readonly service: string
  readonly interfaces: readonly string[]
  /** Its status was written. Without it, who made it for which Service is known from its labels. */
  readonly written: boolean
}

export type L2StatusAction =
  | { readonly type: 'create'; readonly service: string; readonly interfaces: readonly string[] }
  | { readonly type: 'delete'; readonly status: L2StatusFacts }

const LABELS = {
  node: 'metallb.io/node',
  name: 'metallb.io/service-name',
  namespace: 'metallb.io/service-namespace',
} as const

/** Total: a malformed field counts as empty. */
export function l2StatusFromObject(object: KubeObject): L2StatusFacts {
  const status = record(object['status'])
  const labels = record(object.metadata.labels)
  const written = text(status['node']) !== ''
  const field = (name: string, label: string) => (written ? text(status[name]) : text(labels[label]))
  const interfaces = Array.isArray(status['interfaces']) ? status['interfaces'] : []
  return {
    namespace: object.metadata.namespace ?? '',
    name: object.metadata.name,
    node: field('node', LABELS.node),
    service: `${field('serviceNamespace', LABELS.namespace)}/${field('serviceName', LABELS.name)}`,
    interfaces: interfaces.map(item => text(record(item)['name'])),
    written,
  }
}

/**
 * One object for each Service that this node announces. Those of other nodes for the same Service are stale and go; of what
 * this node does not announce, only its own goes: the new owner deletes the rest (metallb.md 1.1, status kinds).
 */
export function planL2Statuses(
  self: string,
  announced: ReadonlyMap<string, readonly string[]>,
  existing: Iterable<L2StatusFacts>,
): L2StatusAction[] {
  const actions: L2StatusAction[] = []
  const kept = new Set<string>()
  for (const status of [...existing].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const interfaces = announced.get(status.service)
    const mine = status.node === self
    const right = status.written && interfaces !== undefined && interfaces.join() === status.interfaces.join()
    if (mine && right && !kept.has(status.service)) kept.add(status.service)
    else if (mine || interfaces !== undefined) actions.push({ type: 'delete', status })
  }
  for (const [service, interfaces] of [...announced].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!kept.has(service)) actions.push({ type: 'create', service, interfaces })
  }
  return actions
}

/** What is created, without owner and namespace. */
export function l2StatusObject(
  self: string,
  service: string,
  interfaces: readonly string[],
): Omit<KubeObject, 'metadata'> & {
  readonly labels: Readonly<Record<string, string>>
} {
  const [namespace = '', name = ''] = service.split('/')
  return {
    labels: {
      [LABELS.node]: self,
      [LABELS.name]: name,
      [LABELS.namespace]: namespace,
    },
    status: {
      node: self,
      serviceName: name,
      serviceNamespace: namespace,
      interfaces: interfaces.map(each => ({ name: each })),
    },
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
