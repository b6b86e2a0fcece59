import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { isIP } from 'node:net'
import { ipToBytes, parseIp } from '../../addr/ip.ts'

export type ServerCertificate = { readonly caPem: string; readonly certPem: string; readonly keyPem: string }

/** A certificate authority of its own, and a server certificate for these names and addresses: P-256, good for ten years. */
export function makeServerCertificate(serverNames: readonly string[], wallMs: number): ServerCertificate {
  const ca = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const server = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const from = wallMs - 3_600_000
  const until = wallMs + 10 * 365 * 86_400_000
  const caDer = certificate({
    subject: 'lodestone-lab-ca',
    issuer: 'lodestone-lab-ca',
    publicKey: ca.publicKey,
    signer: ca.privateKey,
    from,
    until,
    extensions: [
      extension('551d13', true, sequence(BOOLEAN_TRUE)), // basicConstraints: CA
      extension('551d0f', true, tlv(0x03, Buffer.from([1, 0x06]))), // keyUsage: keyCertSign, cRLSign
    ],
  })
  const names = serverNames.map(name => {
    const ip = isIP(name) === 0 ? undefined : parseIp(name)
    return ip === undefined ? tlv(0x82, Buffer.from(name, 'ascii')) : tlv(0x87, Buffer.from(ipToBytes(ip)))
  })
  const serverDer = certificate({
    subject: 'lodestone-lab-apiserver',
    issuer: 'lodestone-lab-ca',
    publicKey: server.publicKey,
    signer: ca.privateKey,
    from,
    until,
    extensions: [
      extension('551d13', true, sequence()),
      extension('551d0f', true, tlv(0x03, Buffer.from([5, 0xa0]))), // keyUsage: digitalSignature, keyEncipherment
      extension('551d25', false, sequence(oid('2b06010505070301'))), // extKeyUsage: serverAuth
      extension('551d11', false, sequence(...names)), // subjectAltName
    ],
  })
  return {
    caPem: pem(caDer),
    certPem: pem(serverDer),
    keyPem: server.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

type Certificate = {
  subject: string
  issuer: string
  publicKey: KeyObject
  signer: KeyObject
  from: number
  until: number
  extensions: Buffer[]
}

/** RFC 5280 section 4.1, signed with ECDSA and SHA-256. */
function certificate(c: Certificate): Buffer {
  const algorithm = sequence(oid('2a8648ce3d040302'))
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40
  const toBeSigned = sequence(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))), // version 3
    tlv(0x02, serial),
    algorithm,
    commonName(c.issuer),
    sequence(time(c.from), time(c.until)),
    commonName(c.subject),
    createPublicKey(c.publicKey.export({ type: 'spki', format: 'pem' })).export({
      type: 'spki',
      format: 'der',
    }),
    tlv(0xa3, sequence(...c.extensions)),
  )
  const signature = sign('sha256', toBeSigned, c.signer)
  return sequence(toBeSigned, algorithm, tlv(0x03, Buffer.concat([Buffer.from([0]), signature])))
}

const BOOLEAN_TRUE = Buffer.from([0x01, 0x01, 0xff])

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(critical ? [BOOLEAN_TRUE] : []), tlv(0x04, value))
}

/** The object identifier whose encoded bytes these are. */
function oid(encodedHex: string): Buffer {
  return tlv(0x06, Buffer.from(encodedHex, 'hex'))
}

function commonName(name: string): Buffer {
  return sequence(tlv(0x31, sequence(oid('550403'), tlv(0x0c, Buffer.from(name)))))
}

/** UTCTime until 2049, GeneralizedTime after (RFC 5280 section 4.1.2.5). */
function time(wallMs: number): Buffer {
  const digits = new Date(wallMs).toISOString().replaceAll(/[-:T]|\.\d+/g, '')
  return digits < '2050' ? tlv(0x17, Buffer.from(digits.slice(2))) : tlv(0x18, Buffer.from(digits))
}

function sequence(...parts: Buffer[]): Buffer {
  return tlv(0x30, Buffer.concat(parts))
}

function tlv(tag: number, value: Buffer): Buffer {
  const length =
    value.length < 0x80
      ? [value.length]
      : value.length < 0x100
        ? [0x81, value.length]
        : [0x82, value.length >> 8, value.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), value])
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').replaceAll(/(.{64})/g, '$1\n')
  return `-----BEGIN CERTIFICATE-----\n${lines.trimEnd()}\n-----END CERTIFICATE-----\n`
}
