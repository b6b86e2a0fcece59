import { type EndpointSliceFacts, endpointsFromSlice } from '../config/endpointslice.ts'
import { type NamespaceFacts, type NodeFacts, namespaceFromObject, nodeFromObject } from '../config/nodes.ts'
import { type ServiceFacts, serviceFromObject } from '../config/services.ts'
import { type SpeakerFacts, speakerFromLease } from '../config/speakers.ts'
import type { ElectionRules } from '../layer2/election.ts'
import type { KubeObject } from '../ports/kube.ts'

/** Everything that decides what a cluster announces, at one moment. */
export type Snapshot = {
  /** The metallb.io resources and the Secrets that peers name, whatever their order. */
  readonly resources: readonly KubeObject[]
  /** In the order in which they were made, as far as creationTimestamp does not say it. */
  readonly services: readonly ServiceFacts[]
  readonly slices: readonly EndpointSliceFacts[]
  readonly nodes: readonly NodeFacts[]
  readonly namespaces: readonly NamespaceFacts[]
  /** Names of nodes that are to be taken for dead. */
  readonly down: ReadonlySet<string>
  /** `--lb-class`; undefined: Services without a class. */
  readonly lbClass: string | undefined
  /** `--ignore-exclude-lb` */
  readonly ignoreExcludeLabel: boolean
  /** What the speakers told of their networks. */
  readonly speakers: readonly SpeakerFacts[]
  /** Those of the speakers (`--node-health`, `--subnet-election`); absent: ours where there are speakers, MetalLB's where none is known. */
  readonly rules?: Partial<ElectionRules>
}

export type SnapshotFlags = Pick<Snapshot, 'down' | 'lbClass' | 'ignoreExcludeLabel' | 'rules'>

export const DEFAULT_FLAGS: SnapshotFlags = { down: new Set(), lbClass: undefined, ignoreExcludeLabel: false }

/** API objects of any kinds to a snapshot; kinds that decide nothing are passed over. */
export function snapshotOf(objects: readonly KubeObject[], flags: SnapshotFlags = DEFAULT_FLAGS): Snapshot {
  const ofKind = (kind: string): readonly KubeObject[] => objects.filter(object => object.kind === kind)
  return {
    resources: objects.filter(object => groupOf(object) === 'metallb.io' || object.kind === 'Secret'),
    services: ofKind('Service').map(serviceFromObject),
    slices: ofKind('EndpointSlice').map(endpointsFromSlice),
    nodes: ofKind('Node').map(nodeFromObject),
    namespaces: ofKind('Namespace').map(namespaceFromObject),
    speakers: ofKind('Lease').flatMap(object => speakerFromLease(object) ?? []),
    ...flags,
  }
}

/** `metallb.io` of `metallb.io/v1beta1`; empty for the core group. */
export function groupOf({ apiVersion = '' }: Pick<KubeObject, 'apiVersion'>): string {
  const slash = apiVersion.indexOf('/')
  return slash < 0 ? '' : apiVersion.slice(0, slash)
}
