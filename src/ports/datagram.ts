import type { Ip } from '../addr/ip.ts'

/** A UDP socket. */
export interface Datagram {
  /** Best effort: failures are counted, never thrown. */
  send(payload: Uint8Array, to: { readonly ip: Ip; readonly port: number }): void
  close(): void
}

export type DatagramHandler = (payload: Uint8Array, from: { readonly ip: Ip; readonly port: number }) => void
