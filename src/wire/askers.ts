import assert from 'node:assert/strict'
import { familyOf, type Ip } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import { Reader, Writer } from './io.ts'

/**
 * Who asked for an address by ARP or NDP, as one speaker tells another. Our own protocol (docs/protocols/heartbeat.md): a heartbeat
 * message of kind 3 carries one after the other
 *
 *   | family (4 or 6) + 128 when astray | address | count | count of: asker's address, asker's MAC |
 */
export type AskersOf = {
  readonly address: Ip
  /** Of the same family. */
  readonly askers: readonly AskerEntry[]
  /** They asked the sender alone, although they are the recipient's: it must tell them so. Otherwise: these exist. */
  readonly astray: boolean
}

export type AskerEntry = { readonly ip: Ip; readonly mac: Mac }

/** In one message: with the longest names that a Node may have, below 1300 bytes. */
export const ASKERS_BODY_MAX = 700

const ASTRAY = 0x80

/** As many bodies as it takes; none for nobody. All askers are of the family of the address. */
export function encodeAskers(address: Ip, askers: readonly AskerEntry[], astray = false): Uint8Array[] {
  const family = familyOf(address)
  const length = family === 'IPv4' ? 4 : 16
  const perBody = Math.min(255, Math.floor((ASKERS_BODY_MAX - 2 - length) / (length + 6)))
  const bodies: Uint8Array[] = []
  for (let at = 0; at < askers.length; at += perBody) {
    const part = askers.slice(at, at + perBody)
    const w = new Writer(2 + length + part.length * (length + 6))
    w.u8((family === 'IPv4' ? 4 : 6) | (astray ? ASTRAY : 0))
      .ip(address)
      .u8(part.length)
    for (const { ip, mac } of part) {
      assert(familyOf(ip) === family, `${ip} asks for ${address}`)
      w.ip(ip).mac(mac)
    }
    bodies.push(w.finish())
  }
  return bodies
}

/** @throws DecodeError */
export function decodeAskers(body: Uint8Array): AskersOf[] {
  const r = new Reader(body, 'Lodestone heartbeat')
  const all: AskersOf[] = []
  while (r.remaining > 0) {
    const first = r.u8('family')
    const astray = (first & ASTRAY) !== 0
    const family = first & ~ASTRAY
    if (family !== 4 && family !== 6) throw r.error('bad-value', 'family', `${first}`)
    const read = (field: string): Ip => (family === 4 ? r.ipv4(field) : r.ipv6(field))
    const address = read('address')
    const count = r.u8('count')
    const askers: AskerEntry[] = []
    for (let i = 0; i < count; i++) askers.push({ ip: read('asker'), mac: r.mac('MAC of the asker') })
    all.push({ address, askers, astray })
  }
  return all
}
