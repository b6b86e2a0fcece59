import { isIPv4, isIPv6 } from 'node:net'
import { type ApiObject, at, equal, isRecord, type JsonObject, list, record, text } from '../objects.ts'
import type { ClusterIpPool, PortPool } from '../pools.ts'
import type { ResourceType } from '../resource-type.ts'
import { type Cause, forbiddenField, invalidValue, required, unsupportedValue } from '../status.ts'
import {
  AGE,
  anything,
  atomic,
  boolean,
  builtIn,
  CONDITIONS,
  int32,
  intOrString,
  keyed,
  kindSchema,
  mapOf,
  NAME,
  object,
  oneOf,
  port,
  string,
} from './build.ts'

type Port = {
  name?: string
  protocol?: string
  port?: number
  targetPort?: number | string
  nodePort?: number
  appProtocol?: string
}
type Spec = {
  type?: string
  ports?: Port[]
  selector?: Record<string, string>
  clusterIP?: string
  clusterIPs?: string[]
  ipFamilies?: string[]
  ipFamilyPolicy?: string
  externalIPs?: string[]
  externalName?: string
  externalTrafficPolicy?: string
  internalTrafficPolicy?: string
  healthCheckNodePort?: number
  sessionAffinity?: string
  sessionAffinityConfig?: Record<string, unknown>
  allocateLoadBalancerNodePorts?: boolean
  loadBalancerClass?: string
  loadBalancerIP?: string
  loadBalancerSourceRanges?: string[]
  publishNotReadyAddresses?: boolean
  trafficDistribution?: string
}

const specOf = (service: ApiObject | undefined): Spec => service?.spec ?? {}
const hasClusterIp = (spec: Spec): boolean => spec.type !== 'ExternalName' && spec.clusterIP !== 'None'
const isExposed = (spec: Spec): boolean => spec.type === 'NodePort' || spec.type === 'LoadBalancer'
const wantsNodePorts = (spec: Spec): boolean =>
  spec.type === 'NodePort' || (spec.type === 'LoadBalancer' && spec.allocateLoadBalancerNodePorts !== false)
const needsHealthCheck = (spec: Spec): boolean =>
  spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local'
const familyOf = (ip: string): string => (isIPv6(ip) ? 'IPv6' : 'IPv4')

const SCHEMA = kindSchema(
  'A stable address and port for a set of pods.',
  {
    spec: object({
      type: oneOf(['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'], {
        default: 'ClusterIP',
        description: 'How far the Service is reachable.',
      }),
      ports: keyed(
        object(
          {
            name: string(),
            protocol: oneOf(['TCP', 'UDP', 'SCTP'], { default: 'TCP' }),
            port: port({ description: 'What clients connect to.' }),
            targetPort: intOrString({
              description: 'Port of the pods, by number or name; the same as port when absent.',
            }),
            nodePort: port({ minimum: 0, description: 'Port on every node.' }),
            appProtocol: string(),
          },
          { required: ['port'] },
        ),
        ['port', 'protocol'],
      ),
      selector: mapOf(string(), {
        'x-kubernetes-map-type': 'atomic',
        description: 'Labels of the pods that serve.',
      }),
      clusterIP: string(),
      clusterIPs: atomic(string()),
      ipFamilies: atomic(oneOf(['IPv4', 'IPv6'])),
      ipFamilyPolicy: oneOf(['SingleStack', 'PreferDualStack', 'RequireDualStack']),
      externalIPs: atomic(string()),
      externalName: string(),
      externalTrafficPolicy: oneOf(['Cluster', 'Local'], {
        description: 'Local keeps traffic from outside on the node it reached, and its source address.',
      }),
      internalTrafficPolicy: oneOf(['Cluster', 'Local']),
      healthCheckNodePort: port({ minimum: 0 }),
      sessionAffinity: oneOf(['None', 'ClientIP'], { default: 'None' }),
      sessionAffinityConfig: object({
        clientIP: object({ timeoutSeconds: int32({ minimum: 1, maximum: 86400 }) }),
      }),
      allocateLoadBalancerNodePorts: boolean(),
      loadBalancerClass: string(),
      loadBalancerIP: string(),
      loadBalancerSourceRanges: atomic(string()),
      publishNotReadyAddresses: boolean(),
      trafficDistribution: string(),
    }),
    status: object({
      loadBalancer: object({
        ingress: atomic(
          object({
            ip: string(),
            hostname: string(),
            ipMode: oneOf(['VIP', 'Proxy']),
            ports: atomic(anything()),
          }),
        ),
      }),
      conditions: CONDITIONS,
    }),
  },
  { required: ['spec'] },
)

/** The EXTERNAL-IP column. */
export function externalAddress(service: ApiObject): string {
  const spec = specOf(service)
  const ingress = list(at(service, 'status', 'loadBalancer', 'ingress'))
    .map(entry => text(at(entry, 'ip')) || text(at(entry, 'hostname')))
    .filter(address => address !== '')
  const external = spec.externalIPs ?? []
  if (spec.type === 'LoadBalancer') {
    const all = [...ingress, ...external]
    return all.length === 0 ? '<pending>' : all.join(',')
  }
  if (spec.type === 'ExternalName') return spec.externalName ?? '<none>'
  return external.length === 0 ? '<none>' : external.join(',')
}

/** Service, with its addresses and node ports taken from the given pools (one per family, the cluster's first family first). */
export function serviceType(pools: readonly ClusterIpPool[], nodePorts: PortPool): ResourceType {
  const families = pools.map(pool => pool.family)

  function prepareStatus(draft: ApiObject): JsonObject {
    const status = (draft.status ??= { loadBalancer: {} })
    status['loadBalancer'] ??= {}
    return status
  }

  function finishStatus(draft: ApiObject, causes: Cause[]): void {
    prepareStatus(draft)
    validateStatus(draft, causes)
  }

  function prepare(draft: ApiObject, before: ApiObject | undefined): void {
    const spec = specOf(draft)
    const old = specOf(before)
    draft.spec = spec
    const status = prepareStatus(draft)
    for (const p of spec.ports ?? []) {
      if (p.targetPort === undefined || p.targetPort === 0 || p.targetPort === '')
        p.targetPort = p.port as number
      if (p.nodePort === 0) delete p.nodePort
    }
    if (spec.healthCheckNodePort === 0) delete spec.healthCheckNodePort
    if (spec.sessionAffinity === 'ClientIP') {
      spec.sessionAffinityConfig ??= { clientIP: { timeoutSeconds: 10800 } }
    } else delete spec.sessionAffinityConfig
    if (spec.type === 'ExternalName') {
      for (const key of [
        'clusterIP',
        'clusterIPs',
        'ipFamilies',
        'ipFamilyPolicy',
        'internalTrafficPolicy',
      ] as const) {
        if (before === undefined || equal(spec[key], old[key])) delete spec[key]
      }
    } else {
      spec.internalTrafficPolicy ??= 'Cluster'
      keepAddresses(spec, old)
      chooseFamilies(spec, old)
    }
    if (isExposed(spec)) spec.externalTrafficPolicy ??= 'Cluster'
    else if (isExposed(old) && (spec.externalIPs ?? []).length === 0) {
      if (spec.externalTrafficPolicy === old.externalTrafficPolicy) delete spec.externalTrafficPolicy
    }
    if (spec.type === 'LoadBalancer') spec.allocateLoadBalancerNodePorts ??= true
    else if (old.type === 'LoadBalancer') {
      if (spec.allocateLoadBalancerNodePorts === old.allocateLoadBalancerNodePorts) {
        delete spec.allocateLoadBalancerNodePorts
      }
      if (spec.loadBalancerClass === old.loadBalancerClass) delete spec.loadBalancerClass
      status['loadBalancer'] = {}
    }
    keepNodePorts(spec, old)
  }

  /** A client that sends no address means the one there is. */
  function keepAddresses(spec: Spec, old: Spec): void {
    if (!hasClusterIp(old) && old.clusterIP !== 'None') {
      if (spec.clusterIP === '') delete spec.clusterIP
    } else if (old.clusterIP !== undefined) {
      if (spec.clusterIP === undefined || spec.clusterIP === '') {
        if (spec.clusterIPs === undefined || equal(spec.clusterIPs, old.clusterIPs)) {
          spec.clusterIP = old.clusterIP
          spec.clusterIPs = [...(old.clusterIPs ?? [])]
        }
      }
      spec.clusterIPs ??= [...(old.clusterIPs ?? [])]
      if (spec.ipFamilyPolicy === undefined && old.ipFamilyPolicy !== undefined) {
        spec.ipFamilyPolicy = old.ipFamilyPolicy
      }
      if (spec.ipFamilies === undefined && old.ipFamilies !== undefined) spec.ipFamilies = [...old.ipFamilies]
    }
    if (spec.clusterIP === '') delete spec.clusterIP
    if (spec.clusterIP !== undefined && (spec.clusterIPs ?? []).length === 0)
      spec.clusterIPs = [spec.clusterIP]
    if (spec.clusterIP === undefined && spec.clusterIPs?.[0] !== undefined)
      spec.clusterIP = spec.clusterIPs[0]
  }

  function chooseFamilies(spec: Spec, old: Spec): void {
    const given = spec.clusterIPs ?? []
    const headlessWithoutSelector = spec.clusterIP === 'None' && Object.keys(spec.selector ?? {}).length === 0
    if (spec.ipFamilyPolicy === undefined) {
      const wanted = Math.max(given.length, spec.ipFamilies?.length ?? 0)
      spec.ipFamilyPolicy =
        wanted > 1 || (headlessWithoutSelector && spec.ipFamilies === undefined)
          ? 'RequireDualStack'
          : 'SingleStack'
    }
    // Back to one family: the second address is dropped.
    if (
      spec.ipFamilyPolicy === 'SingleStack' &&
      old.ipFamilyPolicy !== undefined &&
      old.ipFamilyPolicy !== 'SingleStack'
    ) {
      if (equal(spec.clusterIPs, old.clusterIPs)) spec.clusterIPs = given.slice(0, 1)
      if (equal(spec.ipFamilies, old.ipFamilies)) spec.ipFamilies = (spec.ipFamilies ?? []).slice(0, 1)
    }
    const chosen = [...(spec.ipFamilies ?? [])]
    for (const [i, ip] of (spec.clusterIPs ?? []).entries()) {
      if (ip !== 'None' && chosen[i] === undefined) chosen[i] = familyOf(ip)
    }
    if (chosen.length === 0) chosen.push(families[0] ?? 'IPv4')
    if (spec.ipFamilyPolicy !== 'SingleStack' && chosen.length === 1) {
      const other = families.find(family => family !== chosen[0])
      if (other !== undefined) chosen.push(other)
      else if (headlessWithoutSelector) chosen.push(chosen[0] === 'IPv4' ? 'IPv6' : 'IPv4')
    }
    spec.ipFamilies = chosen
  }

  /** Ports that were given stay, found again by port and protocol; a type without node ports gives them up. */
  function keepNodePorts(spec: Spec, old: Spec): void {
    const before = new Map((old.ports ?? []).map(p => [`${p.protocol ?? 'TCP'}/${p.port}`, p.nodePort]))
    for (const p of spec.ports ?? []) {
      const had = before.get(`${p.protocol ?? 'TCP'}/${p.port}`)
      if (isExposed(spec)) {
        if (p.nodePort === undefined && had !== undefined && wantsNodePorts(spec)) p.nodePort = had
      } else if (isExposed(old) && p.nodePort === had) delete p.nodePort
    }
    if (needsHealthCheck(spec)) {
      if (spec.healthCheckNodePort === undefined && old.healthCheckNodePort !== undefined) {
        spec.healthCheckNodePort = old.healthCheckNodePort
      }
    } else if (spec.healthCheckNodePort === old.healthCheckNodePort) delete spec.healthCheckNodePort
  }

  function validate(draft: ApiObject, before: ApiObject | undefined, causes: Cause[]): void {
    const spec = specOf(draft)
    const old = specOf(before)
    validatePorts(spec, causes)
    if (spec.type === 'ExternalName') {
      if (text(spec.externalName) === '') causes.push(required('spec.externalName'))
      return
    }
    for (const [i, ip] of (spec.clusterIPs ?? []).entries()) {
      const field = `spec.clusterIPs[${i}]`
      if (ip === 'None') {
        if (i > 0 || (spec.clusterIPs ?? []).length > 1) {
          causes.push(invalidValue(field, ip, "must be the only value when set to 'None'"))
        }
      } else if (!isIPv4(ip) && !isIPv6(ip)) {
        causes.push(invalidValue(field, ip, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'))
      } else if (spec.ipFamilies?.[i] !== undefined && familyOf(ip) !== spec.ipFamilies[i]) {
        causes.push(
          invalidValue(
            field,
            ip,
            `expected an ${spec.ipFamilies[i]} value as indicated by \`ipFamilies[${i}]\``,
          ),
        )
      }
    }
    if (spec.clusterIP !== spec.clusterIPs?.[0]) {
      causes.push(invalidValue('spec.clusterIPs', spec.clusterIPs, 'first value must match `clusterIP`'))
    }
    if (spec.clusterIP === 'None' && isExposed(spec)) {
      causes.push(
        invalidValue('spec.clusterIPs[0]', 'None', `may not be set to 'None' for ${spec.type} services`),
      )
    }
    if (spec.ipFamilies?.[0] !== undefined && spec.ipFamilies[0] === spec.ipFamilies[1]) {
      causes.push({
        reason: 'FieldValueDuplicate',
        message: `Duplicate value: ${JSON.stringify(spec.ipFamilies[1])}`,
        field: 'spec.ipFamilies[1]',
      })
    }
    if (hasClusterIp(spec)) {
      for (const [i, family] of (spec.ipFamilies ?? []).entries()) {
        if (!families.some(served => served === family)) {
          causes.push(invalidValue(`spec.ipFamilies[${i}]`, family, 'not configured on this cluster'))
        }
      }
      if (spec.ipFamilyPolicy === 'RequireDualStack' && families.length < 2) {
        causes.push(
          invalidValue(
            'spec.ipFamilyPolicy',
            spec.ipFamilyPolicy,
            'this cluster is not configured for dual-stack services',
          ),
        )
      }
    }
    if (
      before !== undefined &&
      hasClusterIp(old) &&
      old.clusterIP !== undefined &&
      spec.clusterIP !== old.clusterIP
    ) {
      causes.push(invalidValue('spec.clusterIPs[0]', spec.clusterIPs, 'may not change once set'))
    }
    if (
      before !== undefined &&
      old.ipFamilies?.[0] !== undefined &&
      old.type !== 'ExternalName' &&
      spec.ipFamilies?.[0] !== old.ipFamilies[0]
    ) {
      causes.push(invalidValue('spec.ipFamilies[0]', spec.ipFamilies, 'may not change once set'))
    }
    if (
      spec.externalTrafficPolicy !== undefined &&
      !isExposed(spec) &&
      (spec.externalIPs ?? []).length === 0
    ) {
      causes.push(
        invalidValue(
          'spec.externalTrafficPolicy',
          spec.externalTrafficPolicy,
          'may only be set for externally-accessible services',
        ),
      )
    }
    if (spec.healthCheckNodePort !== undefined && !needsHealthCheck(spec)) {
      causes.push(
        invalidValue(
          'spec.healthCheckNodePort',
          spec.healthCheckNodePort,
          "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
      )
    }
    if (
      before !== undefined &&
      needsHealthCheck(spec) &&
      old.healthCheckNodePort !== undefined &&
      spec.healthCheckNodePort !== old.healthCheckNodePort
    ) {
      causes.push(invalidValue('spec.healthCheckNodePort', spec.healthCheckNodePort, 'field is immutable'))
    }
    if (spec.loadBalancerClass !== undefined && spec.type !== 'LoadBalancer') {
      causes.push(forbiddenField('spec.loadBalancerClass', "may only be used when `type` is 'LoadBalancer'"))
    }
    if (
      before !== undefined &&
      old.type === 'LoadBalancer' &&
      spec.type === 'LoadBalancer' &&
      spec.loadBalancerClass !== old.loadBalancerClass
    ) {
      causes.push(invalidValue('spec.loadBalancerClass', spec.loadBalancerClass, 'may not change once set'))
    }
    validateStatus(draft, causes)
  }

  function validateStatus(draft: ApiObject, causes: Cause[]): void {
    for (const [i, entry] of list(at(draft, 'status', 'loadBalancer', 'ingress')).entries()) {
      const ip = record(entry)['ip']
      if (ip !== undefined && !isIPv4(text(ip)) && !isIPv6(text(ip))) {
        causes.push(
          invalidValue(
            `status.loadBalancer.ingress[${i}].ip`,
            ip,
            'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
          ),
        )
      }
    }
  }

  function validatePorts(spec: Spec, causes: Cause[]): void {
    const ports = spec.ports ?? []
    if (ports.length === 0 && hasClusterIp(spec)) causes.push(required('spec.ports'))
    const names = new Set<string>()
    const taken = new Set<string>()
    for (const [i, p] of ports.entries()) {
      const field = `spec.ports[${i}]`
      if (p.name === undefined || p.name === '') {
        if (ports.length > 1) causes.push(required(`${field}.name`))
      } else if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(p.name) || p.name.length > 63) {
        causes.push(invalidValue(`${field}.name`, p.name, 'a lowercase RFC 1123 label is needed'))
      } else if (names.has(p.name)) {
        causes.push({
          reason: 'FieldValueDuplicate',
          message: `Duplicate value: ${JSON.stringify(p.name)}`,
          field: `${field}.name`,
        })
      } else names.add(p.name)
      const key = `${p.protocol}/${p.port}`
      if (taken.has(key)) {
        causes.push({
          reason: 'FieldValueDuplicate',
          message: `Duplicate value: ${JSON.stringify({ port: p.port, protocol: p.protocol })}`,
          field,
        })
      }
      taken.add(key)
      const target = p.targetPort
      if (typeof target === 'number' ? target < 1 || target > 65535 : target === '') {
        causes.push(invalidValue(`${field}.targetPort`, target, 'must be between 1 and 65535, inclusive'))
      }
      if (p.nodePort !== undefined && !isExposed(spec)) {
        causes.push(forbiddenField(`${field}.nodePort`, "may not be used when `type` is 'ClusterIP'"))
      }
      if (p.protocol !== undefined && !['TCP', 'UDP', 'SCTP'].includes(p.protocol)) {
        causes.push(unsupportedValue(`${field}.protocol`, p.protocol, ['SCTP', 'TCP', 'UDP']))
      }
    }
  }

  /** Everything or nothing: what was taken is given back when a later step fails. */
  function reserve(draft: ApiObject, before: ApiObject | undefined): void {
    const spec = specOf(draft)
    const old = specOf(before)
    const undo: (() => void)[] = []
    try {
      if (hasClusterIp(spec)) {
        const had = new Set(hasClusterIp(old) ? (old.clusterIPs ?? []) : [])
        const addresses = [...(spec.clusterIPs ?? [])]
        for (const [i, family] of (spec.ipFamilies ?? []).entries()) {
          const pool = pools.find(candidate => candidate.family === family)
          if (pool === undefined) continue
          const wanted = addresses[i]
          if (wanted !== undefined && had.has(wanted)) continue
          const ip = wanted === undefined ? pool.next() : pool.take(wanted, `spec.clusterIPs`)
          addresses[i] = ip
          undo.push(() => pool.free(ip))
        }
        spec.clusterIPs = addresses
        if (addresses[0] !== undefined) spec.clusterIP = addresses[0]
      }
      const hadPorts = new Set([...(old.ports ?? []).map(p => p.nodePort), old.healthCheckNodePort])
      const here = new Set<number>()
      if (isExposed(spec)) {
        for (const [i, p] of (spec.ports ?? []).entries()) {
          if (p.nodePort !== undefined) {
            if (!hadPorts.has(p.nodePort) && !here.has(p.nodePort)) {
              nodePorts.take(p.nodePort, `spec.ports[${i}].nodePort`)
              undo.push(() => nodePorts.free(p.nodePort ?? 0))
            }
          } else if (wantsNodePorts(spec)) {
            // The same port of another protocol shares the number, as Kubernetes does for port 53.
            const twin = spec.ports?.find(o => o !== p && o.port === p.port && o.nodePort !== undefined)
            if (twin?.nodePort !== undefined) p.nodePort = twin.nodePort
            else {
              const taken = nodePorts.next()
              p.nodePort = taken
              undo.push(() => nodePorts.free(taken))
            }
          }
          if (p.nodePort !== undefined) here.add(p.nodePort)
        }
      }
      if (needsHealthCheck(spec)) {
        if (spec.healthCheckNodePort === undefined) {
          const taken = nodePorts.next()
          spec.healthCheckNodePort = taken
          undo.push(() => nodePorts.free(taken))
        } else if (!hadPorts.has(spec.healthCheckNodePort)) {
          const wanted = spec.healthCheckNodePort
          nodePorts.take(wanted, 'spec.healthCheckNodePort')
          undo.push(() => nodePorts.free(wanted))
        }
      }
    } catch (error) {
      for (const back of undo) back()
      throw error
    }
  }

  function release(before: ApiObject, after: ApiObject | undefined): void {
    const old = specOf(before)
    const now = specOf(after)
    const keptIps = new Set(after !== undefined && hasClusterIp(now) ? (now.clusterIPs ?? []) : [])
    if (hasClusterIp(old)) {
      for (const ip of old.clusterIPs ?? []) {
        if (!keptIps.has(ip)) pools.find(pool => pool.family === familyOf(ip))?.free(ip)
      }
    }
    const keptPorts = new Set([...(now.ports ?? []).map(p => p.nodePort), now.healthCheckNodePort])
    for (const taken of new Set([...(old.ports ?? []).map(p => p.nodePort), old.healthCheckNodePort])) {
      if (taken !== undefined && !keptPorts.has(taken)) nodePorts.free(taken)
    }
  }

  return builtIn({
    group: '',
    version: 'v1',
    plural: 'services',
    kind: 'Service',
    namespaced: true,
    shortNames: ['svc'],
    categories: ['all'],
    nameRule: 'dns-1035',
    schema: SCHEMA,
    subresources: new Set(['status']),
    fieldSelectors: {
      'spec.clusterIP': service => text(specOf(service).clusterIP),
      'spec.type': service => text(specOf(service).type),
    },
    columns: [
      NAME,
      { name: 'Type', type: 'string', value: s => text(specOf(s).type) },
      { name: 'Cluster-IP', type: 'string', value: s => specOf(s).clusterIP ?? '<none>' },
      { name: 'External-IP', type: 'string', value: externalAddress },
      {
        name: 'Port(s)',
        type: 'string',
        value: s =>
          (specOf(s).ports ?? [])
            .map(p => `${p.port}${p.nodePort === undefined ? '' : `:${p.nodePort}`}/${p.protocol}`)
            .join(',') || '<none>',
      },
      AGE,
      {
        name: 'Selector',
        type: 'string',
        priority: 1,
        value: s => {
          const selector = specOf(s).selector
          if (!isRecord(selector) || Object.keys(selector).length === 0) return '<none>'
          return Object.entries(selector)
            .map(([key, value]) => `${key}=${text(value)}`)
            .sort()
            .join(',')
        },
      },
    ],
    hooks: { prepare, validate, finishStatus, reserve, release },
  })
}
