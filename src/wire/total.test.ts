// Whatever the bytes, a decoder gives a value or a DecodeError, and a value that it gives can be written and read again.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { ARP_FRAMES, IP_FRAMES, ND_FRAMES } from '../../test/golden/frames.ts'
import type { Ip, Ipv6 } from '../addr/ip.ts'
import { decodeArp, decodeArpFrame, encodeArp, encodeArpFrame } from './arp.ts'
import { decodeEthernet, encodeEthernet } from './ethernet.ts'
import { decodeIcmpv6, encodeIcmpv6 } from './icmpv6.ts'
import { DecodeError } from './io.ts'
import { decodeIpv4, encodeIpv4 } from './ipv4.ts'
import { decodeIpv6, encodeIpv6 } from './ipv6.ts'
import { decodeNd, decodeNdFrame, encodeNd, encodeNdFrame } from './nd.ts'
import { decodeUdp, encodeUdp } from './udp.ts'

type Codec = {
  readonly name: string
  /** Where the bytes of this decoder begin in a captured frame. */
  readonly at: number
  readonly frames: readonly Uint8Array[]
  readonly decode: (bytes: Uint8Array) => unknown
  /** Decodes, and where that gives a value, checks that encoding and decoding it gives the same. */
  readonly run: (bytes: Uint8Array) => void
}

const V4 = { source: '192.0.2.1' as Ip, destination: '192.0.2.2' as Ip }
const V6 = { source: '2001:db8::2' as Ipv6, destination: 'ff02::1:ff00:1' as Ipv6 }

function codec<T>(
  name: string,
  at: number,
  frames: readonly Uint8Array[],
  decode: (bytes: Uint8Array) => T,
  encode: (value: T) => Uint8Array,
): Codec {
  const run = (bytes: Uint8Array) => {
    const value = decode(bytes)
    assert.deepEqual(decode(encode(value)), value)
  }
  return { name, at, frames, decode, run }
}

const { udp4, udp6, udp4WithOptions, mld } = IP_FRAMES
const { kernelSolicitation, kernelAdvertisement, kernelDuplicateProbe } = ND_FRAMES
const ND = [kernelSolicitation, kernelAdvertisement, kernelDuplicateProbe]
const CODECS: readonly Codec[] = [
  codec('Ethernet', 0, [udp4, mld], decodeEthernet, encodeEthernet),
  codec('ARP frame', 0, [ARP_FRAMES.kernelRequest], decodeArpFrame, encodeArpFrame),
  codec('ARP', 14, [ARP_FRAMES.kernelReply], decodeArp, encodeArp),
  codec('IPv4', 14, [udp4, udp4WithOptions], decodeIpv4, encodeIpv4),
  codec('IPv6', 14, [udp6, mld], decodeIpv6, encodeIpv6),
  codec(
    'UDP over IPv4',
    34,
    [udp4],
    bytes => decodeUdp(bytes, V4),
    value => encodeUdp(value, V4),
  ),
  codec(
    'ICMPv6',
    54,
    [kernelSolicitation],
    bytes => decodeIcmpv6(bytes, V6),
    value => encodeIcmpv6(value, V6),
  ),
  codec(
    'neighbour discovery in a packet',
    14,
    ND,
    bytes => {
      const ipv6 = decodeIpv6(bytes)
      return { ipv6: { ...ipv6, payload: new Uint8Array(0) }, nd: decodeNd(ipv6) }
    },
    ({ ipv6, nd }) => encodeIpv6({ ...ipv6, payload: encodeNd(nd, ipv6) }),
  ),
  codec(
    'neighbour discovery frame',
    0,
    ND,
    bytes => {
      const { ethernet, ipv6, nd } = decodeNdFrame(bytes)
      return { ethernet, ipv6: { ...ipv6, extensions: [] }, nd }
    },
    encodeNdFrame,
  ),
]

/** The error of a decoder, or undefined where it gave a value. Everything else fails the test. */
function refusal(run: (bytes: Uint8Array) => unknown, bytes: Uint8Array): DecodeError | undefined {
  try {
    run(bytes)
    return undefined
  } catch (error) {
    if (error instanceof DecodeError) return error
    throw new Error(`on ${Buffer.from(bytes).toString('hex')}`, { cause: error })
  }
}

for (const { name, at, frames, decode, run } of CODECS) {
  const samples = frames.map(frame => frame.slice(at))

  test(`${name} is total: the captured bytes themselves`, () => {
    for (const sample of samples) assert.equal(refusal(run, sample), undefined)
  })

  test(`${name} is total: cut at every length`, () => {
    for (const sample of samples) {
      for (let length = 0; length < sample.length; length++) {
        const error = refusal(run, sample.slice(0, length))
        // Ethernet has no length of its own, and ICMPv6 that of the packet around it.
        if (name === 'Ethernet') assert.equal(error === undefined, length >= 14)
        else if (name === 'ICMPv6') assert(error !== undefined)
        else assert.equal(error?.code, 'truncated', `${length} bytes`)
      }
    }
  })

  test(`${name} is total: every byte changed to every value`, () => {
    let seen = 0
    for (const sample of samples) {
      for (let i = 0; i < sample.length; i++) {
        const kept = sample[i] ?? 0
        for (let change = 1; change < 256; change++) {
          sample[i] = kept ^ change
          // Writing and reading again takes longest, so it is left to changes of one bit.
          refusal((change & (change - 1)) === 0 ? run : decode, sample)
          seen++
        }
        sample[i] = kept
      }
    }
    assert.equal(seen, 255 * samples.reduce((sum, sample) => sum + sample.length, 0))
  })

  test(`${name} is total: random bytes, also behind a good beginning`, () => {
    const random = fc.uint8Array({ maxLength: 200 })
    const grafted = fc
      .tuple(fc.constantFrom(...samples), fc.nat(), random)
      .map(([sample, cut, tail]) =>
        Uint8Array.from([...sample.subarray(0, cut % (sample.length + 1)), ...tail]),
      )
    fc.assert(
      fc.property(fc.oneof(random, grafted), bytes => {
        refusal(run, bytes)
      }),
      { numRuns: 500 },
    )
  })
}
