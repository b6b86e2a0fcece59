import type { Log } from '../../ports/log.ts'
import { Admission } from './admission.ts'
import { Conversions } from './conversion.ts'
import { GarbageCollector } from './gc.ts'
import {
  CONFIG_MAP,
  ENDPOINTS,
  EVENT,
  EVENTS_EVENT,
  NAMESPACE,
  NODE,
  SECRET,
  SERVICE_ACCOUNT,
} from './kinds/core.ts'
import { CUSTOM_RESOURCE_DEFINITION, customTypes } from './kinds/crd.ts'
import { ENDPOINT_SLICE, LEASE } from './kinds/endpointslice.ts'
import { POD } from './kinds/pod.ts'
import { serviceType } from './kinds/service.ts'
import { VALIDATING_WEBHOOK_CONFIGURATION } from './kinds/webhook.ts'
import { DAEMON_SET, DEPLOYMENT, REPLICA_SET } from './kinds/workloads.ts'
import { ClusterIpPool, PortPool } from './pools.ts'
import { Registry } from './registry.ts'
import { Store } from './store.ts'
import { WebhookCaller } from './webhook-call.ts'
import { type WriteOptions, Writer } from './writer.ts'

export type ClusterOptions = {
  /** One prefix per family; the first is the cluster's primary family. */
  readonly serviceCidrs: readonly string[]
  readonly wallNow: () => number
  readonly log: Log
  /** Past changes per kind that a watch can resume from. */
  readonly watchWindow: number
}

/** The state of a cluster and the rules of its kinds: everything of the API server but HTTP. */
export type Cluster = {
  readonly registry: Registry
  readonly store: Store
  readonly writer: Writer
  readonly admission: Admission
  readonly conversions: Conversions
}

const CRD_KEY = CUSTOM_RESOURCE_DEFINITION.storageKey

/** What the server itself writes. */
export function systemWrite(): WriteOptions {
  return {
    dryRun: false,
    fieldManager: 'kube-apiserver',
    fieldValidation: 'Ignore',
    user: 'system:apiserver',
    warnings: [],
  }
}

/** An empty cluster: the namespaces that every cluster has, and the Service of the API. */
export function makeCluster(options: ClusterOptions): Cluster {
  const pools = options.serviceCidrs.map(cidr => new ClusterIpPool(cidr))
  const service = serviceType(pools, new PortPool())
  const registry = new Registry([
    NAMESPACE,
    NODE,
    POD,
    service,
    ENDPOINTS,
    SECRET,
    CONFIG_MAP,
    SERVICE_ACCOUNT,
    EVENT,
    DEPLOYMENT,
    REPLICA_SET,
    DAEMON_SET,
    ENDPOINT_SLICE,
    LEASE,
    EVENTS_EVENT,
    CUSTOM_RESOURCE_DEFINITION,
    VALIDATING_WEBHOOK_CONFIGURATION,
  ])
  // Later than any revision of an earlier run, as long as that one wrote less than a thousand times a second.
  const store = new Store(Math.floor(options.wallNow()), options.watchWindow)
  const writer = new Writer(registry, store, options.wallNow)
  const caller = new WebhookCaller(store)
  const conversions = new Conversions(caller)
  conversions.attach(registry)
  const admission = new Admission(store, registry, caller, conversions)
  const collector = new GarbageCollector(registry, store, writer, options.log)
  writer.owners = collector

  store.onChange((storageKey, change) => {
    collector.observe(storageKey, change)
    if (storageKey === CRD_KEY) {
      const { before, after, last } = change
      if (after === undefined) {
        const [type] = customTypes(last.object)
        if (type !== undefined) {
          for (const stored of store.collection(type.storageKey).all()) writer.purge(type, stored.key)
        }
        registry.removeCustom(last.object.metadata.name)
      } else if (before?.object.spec !== after.object.spec) {
        registry.setCustom(after.object, customTypes(after.object, conversions))
      }
    }
    if (storageKey === NAMESPACE.storageKey && change.before === undefined) {
      const name = change.last.object.metadata.name
      writer.create(SERVICE_ACCOUNT, name, { metadata: { name: 'default' } }, systemWrite())
    }
  })

  for (const name of ['default', 'kube-system', 'kube-public', 'kube-node-lease']) {
    writer.create(NAMESPACE, '', { metadata: { name } }, systemWrite())
  }
  const first = pools[0]
  if (first !== undefined) {
    const body = {
      metadata: { name: 'kubernetes', labels: { component: 'apiserver', provider: 'kubernetes' } },
      spec: {
        clusterIP: first.firstAddress,
        ports: [{ name: 'https', port: 443, protocol: 'TCP', targetPort: 6443 }],
      },
    }
    writer.create(service, 'default', body, systemWrite())
  }
  return { registry, store, writer, admission, conversions }
}
