import { readFileSync } from 'node:fs'
import { type Ip, ipFromBytes } from '../addr/ip.ts'
import type { Gateway } from '../ports/links.ts'
import { LITTLE_ENDIAN } from './endian.ts'

const RTF_UP = 0x1
const RTF_GATEWAY = 0x2

/** The next hops of the default routes of this thread's network namespace. Without the files (no IPv6, no /proc) there are none. */
export function readGateways(
  links: readonly { readonly index: number; readonly name: string }[],
): readonly Gateway[] {
  const indexes = new Map(links.map(({ name, index }) => [name, index]))
  const gateways: Gateway[] = []
  const found = [
    ...parseIpv4Routes(read('/proc/thread-self/net/route')),
    ...parseIpv6Routes(read('/proc/thread-self/net/ipv6_route')),
  ]
  for (const { name, ip } of found) {
    const interfaceIndex = indexes.get(name)
    if (interfaceIndex !== undefined) gateways.push({ interfaceIndex, ip })
  }
  return gateways
}

type NextHop = { readonly name: string; readonly ip: Ip }

/** proc_pid_net(5), route: name, destination, gateway, flags and seven more; addresses as the machine's 32-bit words in hex. */
export function parseIpv4Routes(text: string): NextHop[] {
  const found: NextHop[] = []
  for (const line of text.split('\n')) {
    const [name = '', destination, gateway = '', flags = '', , , , mask] = line.trim().split(/\s+/)
    if (destination !== '00000000' || mask !== '00000000' || !isViaGateway(flags)) continue
    const bytes = hex(gateway, 4)
    if (bytes !== undefined) found.push({ name, ip: ipFromBytes(LITTLE_ENDIAN ? bytes.toReversed() : bytes) })
  }
  return found
}

/** ipv6_route: destination, its length, source, its length, next hop, metric, two counters, flags, name; all in hex. */
export function parseIpv6Routes(text: string): NextHop[] {
  const found: NextHop[] = []
  for (const line of text.split('\n')) {
    const [destination, length, , , gateway = '', , , , flags = '', name = ''] = line.trim().split(/\s+/)
    if (destination !== '0'.repeat(32) || length !== '00' || !isViaGateway(flags)) continue
    const bytes = hex(gateway, 16)
    if (bytes !== undefined) found.push({ name, ip: ipFromBytes(bytes) })
  }
  return found
}

function isViaGateway(flags: string): boolean {
  const value = Number.parseInt(flags, 16)
  return (value & RTF_UP) !== 0 && (value & RTF_GATEWAY) !== 0
}

function hex(text: string, size: number): Uint8Array | undefined {
  return new RegExp(`^[0-9a-fA-F]{${size * 2}}$`).test(text)
    ? Uint8Array.from(Buffer.from(text, 'hex'))
    : undefined
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    // A kernel without that family.
    return ''
  }
}
