import type { JsonObject } from './objects.ts'
import { ApiError } from './status.ts'

/**
 * Request bodies in Kubernetes' protobuf: kubectl from 1.33 on sends what its `create` commands build in it, and has no way back
 * to JSON. Only those kinds, and of them the fields those commands set; anything else is refused, never dropped. Numbers are
 * those of the generated.proto files of k8s.io/api and k8s.io/apimachinery.
 */
export const PROTOBUF = 'application/vnd.kubernetes.protobuf'

/** Go writes a plain field even when it is empty: a `flag` that is false and a `count` of zero are absent. */
type Kind =
  | 'ignored'
  | 'flag'
  | 'count'
  | 'string'
  | 'bytes'
  | 'int'
  | 'bool'
  | 'time'
  | 'intOrString'
  | 'stringMap'
  | 'bytesMap'
  | Message
type Message = { readonly [number: number]: readonly [name: string, kind: Kind, repeated?: 'repeated'] }

const OWNER: Message = {
  1: ['kind', 'string'],
  3: ['name', 'string'],
  4: ['uid', 'string'],
  5: ['apiVersion', 'string'],
  6: ['controller', 'bool'],
  7: ['blockOwnerDeletion', 'bool'],
}
const METADATA: Message = {
  1: ['name', 'string'],
  2: ['generateName', 'string'],
  3: ['namespace', 'string'],
  4: ['selfLink', 'string'],
  5: ['uid', 'string'],
  6: ['resourceVersion', 'string'],
  7: ['generation', 'count'],
  8: ['creationTimestamp', 'time'],
  9: ['deletionTimestamp', 'time'],
  10: ['deletionGracePeriodSeconds', 'int'],
  11: ['labels', 'stringMap'],
  12: ['annotations', 'stringMap'],
  13: ['ownerReferences', OWNER, 'repeated'],
  14: ['finalizers', 'string', 'repeated'],
}
const PORT: Message = {
  1: ['name', 'string'],
  2: ['protocol', 'string'],
  3: ['port', 'int'],
  4: ['targetPort', 'intOrString'],
  5: ['nodePort', 'count'],
  6: ['appProtocol', 'string'],
}
const SERVICE_SPEC: Message = {
  1: ['ports', PORT, 'repeated'],
  2: ['selector', 'stringMap'],
  3: ['clusterIP', 'string'],
  4: ['type', 'string'],
  5: ['externalIPs', 'string', 'repeated'],
  7: ['sessionAffinity', 'string'],
  8: ['loadBalancerIP', 'string'],
  9: ['loadBalancerSourceRanges', 'string', 'repeated'],
  10: ['externalName', 'string'],
  11: ['externalTrafficPolicy', 'string'],
  12: ['healthCheckNodePort', 'count'],
  13: ['publishNotReadyAddresses', 'flag'],
  17: ['ipFamilyPolicy', 'string'],
  18: ['clusterIPs', 'string', 'repeated'],
  19: ['ipFamilies', 'string', 'repeated'],
  20: ['allocateLoadBalancerNodePorts', 'bool'],
  21: ['loadBalancerClass', 'string'],
  22: ['internalTrafficPolicy', 'string'],
  23: ['trafficDistribution', 'string'],
}
const CONTAINER: Message = {
  1: ['name', 'string'],
  2: ['image', 'string'],
  3: ['command', 'string', 'repeated'],
  4: ['args', 'string', 'repeated'],
  5: ['workingDir', 'string'],
  6: [
    'ports',
    {
      1: ['name', 'string'],
      2: ['hostPort', 'count'],
      3: ['containerPort', 'int'],
      4: ['protocol', 'string'],
      5: ['hostIP', 'string'],
    },
    'repeated',
  ],
  7: ['env', { 1: ['name', 'string'], 2: ['value', 'string'] }, 'repeated'],
  8: ['resources', {}],
  13: ['terminationMessagePath', 'string'],
  14: ['imagePullPolicy', 'string'],
  16: ['stdin', 'flag'],
  17: ['stdinOnce', 'flag'],
  18: ['tty', 'flag'],
  20: ['terminationMessagePolicy', 'string'],
}
const POD_SPEC: Message = {
  2: ['containers', CONTAINER, 'repeated'],
  3: ['restartPolicy', 'string'],
  4: ['terminationGracePeriodSeconds', 'int'],
  6: ['dnsPolicy', 'string'],
  7: ['nodeSelector', 'stringMap'],
  8: ['serviceAccountName', 'string'],
  9: ['serviceAccount', 'string'],
  10: ['nodeName', 'string'],
  11: ['hostNetwork', 'flag'],
  12: ['hostPID', 'flag'],
  13: ['hostIPC', 'flag'],
  16: ['hostname', 'string'],
  17: ['subdomain', 'string'],
  19: ['schedulerName', 'string'],
  24: ['priorityClassName', 'string'],
}
const DEPLOYMENT_SPEC: Message = {
  1: ['replicas', 'int'],
  2: ['selector', { 1: ['matchLabels', 'stringMap'] }],
  3: ['template', { 1: ['metadata', METADATA], 2: ['spec', POD_SPEC] }],
  4: ['strategy', { 1: ['type', 'string'] }],
  5: ['minReadySeconds', 'count'],
  6: ['revisionHistoryLimit', 'int'],
  7: ['paused', 'flag'],
  9: ['progressDeadlineSeconds', 'int'],
}

/** By apiVersion and kind. What a status holds on creation is nothing. */
const KINDS: Readonly<Record<string, Message>> = {
  'v1 Namespace': {
    1: ['metadata', METADATA],
    2: ['spec', { 1: ['finalizers', 'string', 'repeated'] }],
    3: ['status', 'ignored'],
  },
  'v1 ConfigMap': {
    1: ['metadata', METADATA],
    2: ['data', 'stringMap'],
    3: ['binaryData', 'bytesMap'],
    4: ['immutable', 'bool'],
  },
  'v1 Secret': {
    1: ['metadata', METADATA],
    2: ['data', 'bytesMap'],
    3: ['type', 'string'],
    4: ['stringData', 'stringMap'],
    5: ['immutable', 'bool'],
  },
  'v1 ServiceAccount': { 1: ['metadata', METADATA] },
  'v1 Service': {
    1: ['metadata', METADATA],
    2: ['spec', SERVICE_SPEC],
    3: ['status', 'ignored'],
  },
  'apps/v1 Deployment': {
    1: ['metadata', METADATA],
    2: ['spec', DEPLOYMENT_SPEC],
    3: ['status', 'ignored'],
  },
}

function unsupported(what: string): ApiError {
  return new ApiError(
    415,
    'UnsupportedMediaType',
    `${what} is not read from protobuf by this server: send JSON`,
  )
}

type Field = { number: number; varint: bigint; bytes: Buffer }

/** The fields of a message in the order they come. @throws ApiError 400 when the bytes are no message */
function* fields(bytes: Buffer): Generator<Field> {
  let at = 0
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++]
      if (byte === undefined) break
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
    throw new ApiError(400, 'BadRequest', 'the protobuf message is cut short')
  }
  while (at < bytes.length) {
    const tag = Number(varint())
    const number = tag >>> 3
    if ((tag & 7) === 0) yield { number, varint: varint(), bytes: Buffer.alloc(0) }
    else if ((tag & 7) === 2) {
      const length = Number(varint())
      if (at + length > bytes.length)
        throw new ApiError(400, 'BadRequest', 'the protobuf message is cut short')
      yield { number, varint: 0n, bytes: bytes.subarray(at, at + length) }
      at += length
    } else throw new ApiError(400, 'BadRequest', `unknown protobuf wire type ${tag & 7}`)
  }
}

/** An absent string counts as empty, as proto2's Go types write it. */
function decode(bytes: Buffer, message: Message, where: string): JsonObject {
  const out: JsonObject = {}
  for (const field of fields(bytes)) {
    const known = message[field.number]
    if (known === undefined) throw unsupported(`field ${field.number} of ${where}`)
    const [name, kind, repeated] = known
    if (kind === 'stringMap' || kind === 'bytesMap') {
      const entry = decode(
        field.bytes,
        { 1: ['key', 'string'], 2: ['value', kind === 'bytesMap' ? 'bytes' : 'string'] },
        name,
      )
      const map = (out[name] ??= {}) as JsonObject
      map[(entry['key'] as string | undefined) ?? ''] = entry['value'] ?? ''
      continue
    }
    const value = decodeValue(field, kind, `${where}.${name}`)
    if (repeated === 'repeated') ((out[name] ??= []) as unknown[]).push(value)
    else if (value !== '' && value !== undefined) out[name] = value
  }
  return out
}

function decodeValue(field: Field, kind: Exclude<Kind, 'stringMap' | 'bytesMap'>, where: string): unknown {
  if (typeof kind === 'object') return decode(field.bytes, kind, where)
  switch (kind) {
    case 'ignored':
      return undefined
    case 'string':
      return field.bytes.toString()
    case 'bytes':
      return field.bytes.toString('base64')
    case 'int':
      return Number(BigInt.asIntN(64, field.varint))
    case 'count':
      return field.varint === 0n ? undefined : Number(BigInt.asIntN(64, field.varint))
    case 'bool':
      return field.varint !== 0n
    case 'flag':
      return field.varint === 0n ? undefined : true
    case 'time': {
      const { seconds } = decode(field.bytes, { 1: ['seconds', 'int'], 2: ['nanos', 'int'] }, where) as {
        seconds?: number
      }
      return seconds === undefined ? undefined : new Date(seconds * 1000).toISOString().replace('.000', '')
    }
    case 'intOrString': {
      const parts = decode(
        field.bytes,
        { 1: ['type', 'int'], 2: ['int', 'int'], 3: ['text', 'string'] },
        where,
      )
      return parts['type'] === 1 ? parts['text'] : (parts['int'] ?? 0)
    }
    default:
      return kind satisfies never
  }
}

const MAGIC = Buffer.from('k8s\0')

/** The object in a protobuf body: the magic, then runtime.Unknown around the kind's own message. @throws ApiError 400, 415 */
export function decodeProtobuf(body: Buffer): JsonObject {
  if (!body.subarray(0, 4).equals(MAGIC)) throw unsupported('a body without the prefix k8s')
  const envelope = decode(
    body.subarray(4),
    {
      1: ['type', { 1: ['apiVersion', 'string'], 2: ['kind', 'string'] }],
      2: ['raw', 'bytes'],
      3: ['contentEncoding', 'string'],
      4: ['contentType', 'string'],
    },
    'the envelope',
  ) as { type?: { apiVersion?: string; kind?: string }; raw?: string }
  const { apiVersion = '', kind = '' } = envelope.type ?? {}
  const message = KINDS[`${apiVersion} ${kind}`]
  if (message === undefined) throw unsupported(`${apiVersion} ${kind}`)
  return { apiVersion, kind, ...decode(Buffer.from(envelope.raw ?? '', 'base64'), message, kind) }
}

/** A length-delimited field. */
export function encodeField(number: number, value: Buffer | string): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  return Buffer.concat([encodeVarint((number << 3) | 2), encodeVarint(bytes.length), bytes])
}

function encodeVarint(value: number): Buffer {
  const out: number[] = []
  let rest = value
  while (rest > 0x7f) {
    out.push((rest & 0x7f) | 0x80)
    rest >>>= 7
  }
  out.push(rest)
  return Buffer.from(out)
}
