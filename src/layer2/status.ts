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
 * Where several nodes share the addresses of a Service, those that `announcesToo` names keep theirs.
 *
 * Each Service is decided for itself, so that both may be about some Services only, the same ones.
 */
export function planL2Statuses(
  self: string,
  announced: ReadonlyMap<string, readonly string[]>,
  existing: Iterable<L2StatusFacts>,
  announcesToo: (node: string, service: string) => boolean = () => false,
): L2StatusAction[] {
  const kept = new Map<string, L2StatusFacts>()
  const deleted: L2StatusFacts[] = []
  for (const status of existing) {
    const interfaces = announced.get(status.service)
    if (status.node !== self) {
      if (interfaces !== undefined && !announcesToo(status.node, status.service)) deleted.push(status)
      continue
    }
    if (!status.written || interfaces === undefined || !sameNames(interfaces, status.interfaces)) {
      deleted.push(status)
      continue
    }
    // Of two that say the same, the first by name stays.
    const other = kept.get(status.service)
    if (other === undefined || status.name < other.name) kept.set(status.service, status)
    if (other !== undefined) deleted.push(status.name < other.name ? other : status)
  }
  const created = [...announced].filter(([service]) => !kept.has(service))
  return [
    ...deleted
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map((status): L2StatusAction => ({ type: 'delete', status })),
    ...created
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([service, interfaces]): L2StatusAction => ({ type: 'create', service, interfaces })),
  ]
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i])
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
