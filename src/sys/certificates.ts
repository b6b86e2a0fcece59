import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto'
import { isIP } from 'node:net'
import { ipToBytes, parseIp } from '../addr/ip.ts'

/** A certificate and its private key (PKCS #8), both as PEM. */
export type Certified = { readonly certPem: string; readonly keyPem: string }

/** Wall clock milliseconds: valid from and until. */
export type Validity = { readonly fromMs: number; readonly untilMs: number }

/**
 * A new certificate authority that signs itself: P-256 and SHA-256. Each has a name and a key identifier of its own, so that
 * verifiers that trust an old and a new one pick the right one (RFC 5280 sections 4.2.1.1 and 4.2.1.2).
 */
export function makeAuthority(name: string, validity: Validity): Certified {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const subject = `${name}-${randomBytes(4).toString('hex')}`
  const identifier = keyIdentifier(publicKey)
  const der = certificate({
    subject: commonName(subject),
    issuer: commonName(subject),
    publicKey,
    signer: privateKey,
    validity,
    extensions: [
      extension('551d13', true, sequence(BOOLEAN_TRUE)), // basicConstraints: CA
      extension('551d0f', true, tlv(0x03, Buffer.from([1, 0x06]))), // keyUsage: keyCertSign, cRLSign
      extension('551d0e', false, tlv(0x04, identifier)), // subjectKeyIdentifier
      extension('551d23', false, sequence(tlv(0x80, identifier))), // authorityKeyIdentifier
    ],
  })
  return { certPem: pem(der), keyPem: exported(privateKey) }
}

/**
 * A new server certificate for these names and addresses, signed by the authority.
 * @throws Error when the authority's PEM cannot be read, or its key is not of the kind that makeAuthority makes or RSA
 */
export function makeServerCertificate(
  names: readonly string[],
  authority: Certified,
  validity: Validity,
): Certified {
  const issuer = new X509Certificate(authority.certPem)
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const alternatives = names.map(name => {
    const ip = isIP(name) === 0 ? undefined : parseIp(name)
    return ip === undefined ? tlv(0x82, Buffer.from(name, 'ascii')) : tlv(0x87, Buffer.from(ipToBytes(ip)))
  })
  const der = certificate({
    // 64 characters at most (RFC 5280 appendix A.1, ub-common-name); verifiers look at the alternative names only.
    subject: commonName((names[0] ?? '').slice(0, 64)),
    issuer: subjectOf(issuer),
    publicKey,
    signer: createPrivateKey(authority.keyPem),
    validity,
    extensions: [
      extension('551d13', true, sequence()),
      extension('551d0f', true, tlv(0x03, Buffer.from([7, 0x80]))), // keyUsage: digitalSignature
      extension('551d25', false, sequence(oid('2b06010505070301'))), // extKeyUsage: serverAuth
      extension('551d11', false, sequence(...alternatives)), // subjectAltName
      extension('551d0e', false, tlv(0x04, keyIdentifier(publicKey))),
      extension('551d23', false, sequence(tlv(0x80, keyIdentifier(issuer.publicKey)))),
    ],
  })
  return { certPem: pem(der), keyPem: exported(privateKey) }
}

/** What a certificate says, without its signature being checked. */
export type CertificateFacts = Validity & {
  /** SHA-256 of the whole, as hexadecimal digits: its identity. */
  readonly fingerprint: string
  readonly pem: string
  readonly isAuthority: boolean
}

/** Every certificate in a PEM text, in order; undefined when one cannot be read. */
export function readCertificates(text: string): CertificateFacts[] | undefined {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []
  try {
    return blocks.map(block => {
      const parsed = new X509Certificate(block)
      return {
        fingerprint: parsed.fingerprint256.replaceAll(':', '').toLowerCase(),
        pem: `${block}\n`,
        fromMs: Date.parse(parsed.validFrom),
        untilMs: Date.parse(parsed.validTo),
        isAuthority: parsed.ca,
      }
    })
  } catch {
    // Whatever is wrong with it, it is no certificate; callers say so with the place it came from.
    return undefined
  }
}

/** Whether the private key is the one of the certificate. False also for what cannot be read. */
export function isPair({ certPem, keyPem }: Certified): boolean {
  try {
    return new X509Certificate(certPem).checkPrivateKey(createPrivateKey(keyPem))
  } catch {
    // Not readable is not a pair.
    return false
  }
}

/** Whether the authority signed the certificate and the certificate is good for all of these names. Time is not looked at. */
export function isSignedFor(certPem: string, authorityPem: string, names: readonly string[]): boolean {
  try {
    const [certificate, authority] = [new X509Certificate(certPem), new X509Certificate(authorityPem)]
    return (
      certificate.checkIssued(authority) &&
      certificate.verify(authority.publicKey) &&
      names.every(
        name => (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined,
      )
    )
  } catch {
    // Not readable is not signed.
    return false
  }
}

type Parts = {
  subject: Buffer
  issuer: Buffer
  publicKey: KeyObject
  signer: KeyObject
  validity: Validity
  extensions: Buffer[]
}

/** RFC 5280 section 4.1, signed with SHA-256 and ECDSA, or RSA where an authority made by others is that. */
function certificate(c: Parts): Buffer {
  const algorithm =
    c.signer.asymmetricKeyType === 'rsa'
      ? sequence(oid('2a864886f70d01010b'), tlv(0x05, Buffer.alloc(0)))
      : sequence(oid('2a8648ce3d040302'))
  // Positive, and never with a leading zero byte.
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40
  const toBeSigned = sequence(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))), // version 3
    tlv(0x02, serial),
    algorithm,
    c.issuer,
    sequence(time(c.validity.fromMs), time(c.validity.untilMs)),
    c.subject,
    spki(c.publicKey),
    tlv(0xa3, sequence(...c.extensions)),
  )
  const signature = sign('sha256', toBeSigned, c.signer)
  return sequence(toBeSigned, algorithm, tlv(0x03, Buffer.concat([Buffer.from([0]), signature])))
}

function spki(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' })
}

/** SHA-1 of the bits of the key (RFC 5280 section 4.2.1.2, method 1): a name, no protection. */
function keyIdentifier(key: KeyObject): Buffer {
  const [, bits] = children(spki(key))
  // One byte says how many bits of the last one are unused.
  return createHash('sha1')
    .update((bits ?? Buffer.alloc(1)).subarray(1))
    .digest()
}

/** The subject as it is encoded, which an issuer must repeat byte for byte. */
function subjectOf(certificate: X509Certificate): Buffer {
  const [toBeSigned] = children(certificate.raw, true)
  const fields = children(toBeSigned ?? Buffer.alloc(0), true)
  // version, serial, algorithm, issuer, validity, subject
  return fields[5] ?? sequence()
}

/** The elements inside of a constructed element: their contents, or with `whole` also their headers. */
function children(der: Buffer, whole = false): Buffer[] {
  const found: Buffer[] = []
  const end = element(der, 0)
  for (let at = end.contentAt; at < end.end; ) {
    const { contentAt, end } = element(der, at)
    found.push(der.subarray(whole ? at : contentAt, end))
    at = end
  }
  return found
}

function element(der: Buffer, at: number): { contentAt: number; end: number } {
  const first = der[at + 1] ?? 0
  if (first < 0x80) return { contentAt: at + 2, end: at + 2 + first }
  const bytes = first & 0x7f
  const contentAt = at + 2 + bytes
  return { contentAt, end: contentAt + der.readUIntBE(at + 2, bytes) }
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

function exported(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString()
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').replaceAll(/(.{64})/g, '$1\n')
  return `-----BEGIN CERTIFICATE-----\n${lines.trimEnd()}\n-----END CERTIFICATE-----\n`
}
