import { at, display, list, text } from '../objects.ts'
import type { ResourceType } from '../resource-type.ts'
import { invalidValue } from '../status.ts'
import {
  AGE,
  anything,
  atomic,
  boolean,
  builtIn,
  int32,
  kindSchema,
  mapOf,
  NAME,
  OBJECT_REFERENCE,
  object,
  oneOf,
  string,
  time,
} from './build.ts'

function shortened(all: readonly string[]): string {
  if (all.length === 0) return '<unset>'
  return all.length <= 3 ? all.join(',') : `${all.slice(0, 3).join(',')} + ${all.length - 3} more...`
}

export const ENDPOINT_SLICE: ResourceType = builtIn({
  group: 'discovery.k8s.io',
  version: 'v1',
  plural: 'endpointslices',
  kind: 'EndpointSlice',
  namespaced: true,
  hasGeneration: true,
  schema: kindSchema(
    'Some of the endpoints of a Service.',
    {
      addressType: oneOf(['IPv4', 'IPv6', 'FQDN']),
      endpoints: atomic(
        object(
          {
            addresses: atomic(string(), { minItems: 1, maxItems: 100 }),
            conditions: object({ ready: boolean(), serving: boolean(), terminating: boolean() }),
            hostname: string(),
            targetRef: OBJECT_REFERENCE,
            deprecatedTopology: mapOf(string()),
            nodeName: string(),
            zone: string(),
            hints: anything(),
          },
          { required: ['addresses'] },
        ),
        { maxItems: 1000 },
      ),
      ports: atomic(
        object({
          name: string({ default: '' }),
          protocol: oneOf(['TCP', 'UDP', 'SCTP'], { default: 'TCP' }),
          port: int32({ nullable: true }),
          appProtocol: string(),
        }),
      ),
    },
    { required: ['addressType'] },
  ),
  columns: [
    NAME,
    { name: 'AddressType', type: 'string', value: slice => text(slice['addressType']) },
    {
      name: 'Ports',
      type: 'string',
      value: slice => shortened(list(slice['ports']).map(p => display(at(p, 'port') ?? '*'))),
    },
    {
      name: 'Endpoints',
      type: 'string',
      value: slice => shortened(list(slice['endpoints']).flatMap(e => list(at(e, 'addresses')).map(text))),
    },
    AGE,
  ],
  hooks: {
    prepare(draft) {
      draft['endpoints'] ??= []
    },
    validate(draft, before, causes) {
      if (before !== undefined && before['addressType'] !== draft['addressType']) {
        causes.push(invalidValue('addressType', draft['addressType'], 'field is immutable'))
      }
    },
  },
})

export const LEASE: ResourceType = builtIn({
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
  schema: kindSchema('Who holds something, and until when.', {
    spec: object({
      holderIdentity: string(),
      leaseDurationSeconds: int32({ minimum: 1 }),
      acquireTime: time(),
      renewTime: time(),
      leaseTransitions: int32({ minimum: 0 }),
      preferredHolder: string(),
      strategy: string(),
    }),
  }),
  columns: [
    NAME,
    { name: 'Holder', type: 'string', value: lease => text(at(lease, 'spec', 'holderIdentity')) },
    AGE,
  ],
})
