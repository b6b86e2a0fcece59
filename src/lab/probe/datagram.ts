/**
 * The datagrams between the probe and the web pod. A probe is 8 bytes: `LSP1` and a sequence number, big endian. Its answer
 * is `LSA1`, the same number, and who answered as JSON.
 */

/** Who answered, and whom it saw. */
export type Answerer = {
  readonly pod: string
  readonly node: string
  /** The client's address as the pod saw it: under externalTrafficPolicy Cluster that of the node which masqueraded. */
  readonly client: string
}

const PROBE_MAGIC = 0x4c535031
const ANSWER_MAGIC = 0x4c534131
const HEADER_BYTES = 8

/** `sequence` is in 0..2^32-1. */
export function encodeProbe(sequence: number): Uint8Array {
  return header(PROBE_MAGIC, sequence, 0)
}

/** The sequence number, or undefined for anything that is not a probe. */
export function decodeProbe(bytes: Uint8Array): number | undefined {
  if (bytes.length !== HEADER_BYTES) return undefined
  return sequenceAfter(PROBE_MAGIC, bytes)
}

/** `identity` comes from `encodeAnswerer`, made once per client address. */
export function encodeAnswer(sequence: number, identity: Uint8Array): Uint8Array {
  const bytes = header(ANSWER_MAGIC, sequence, identity.length)
  bytes.set(identity, HEADER_BYTES)
  return bytes
}

export function encodeAnswerer(answerer: Answerer): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(answerer))
}

/** The number and the undecoded identity, so that a receiver decodes each distinct one only once. */
export function decodeAnswer(
  bytes: Uint8Array,
): { readonly sequence: number; readonly identity: string } | undefined {
  const sequence = sequenceAfter(ANSWER_MAGIC, bytes)
  if (sequence === undefined) return undefined
  return { sequence, identity: new TextDecoder().decode(bytes.subarray(HEADER_BYTES)) }
}

/** Total: fields that are missing or of another type read as an empty text. */
export function decodeAnswerer(identity: string): Answerer {
  let value: unknown
  try {
    value = JSON.parse(identity)
  } catch {
    // A stranger on the port: it answered, but does not say who it is.
    value = undefined
  }
  const fields = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  const text = (name: string): string => {
    const field = fields[name]
    return typeof field === 'string' ? field : ''
  }
  return { pod: text('pod'), node: text('node'), client: text('client') }
}

/** `::ffff:192.0.2.1` as `192.0.2.1`: a dual-stack socket shows IPv4 clients in the mapped form (RFC 4291 section 2.5.5.2). */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice('::ffff:'.length) : address
}

function header(magic: number, sequence: number, rest: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + rest)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, magic)
  view.setUint32(4, sequence)
  return bytes
}

function sequenceAfter(magic: number, bytes: Uint8Array): number | undefined {
  if (bytes.length < HEADER_BYTES) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return view.getUint32(0) === magic ? view.getUint32(4) : undefined
}
