import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  isPair,
  isSignedFor,
  makeAuthority,
  makeServerCertificate,
  readCertificates,
} from './certificates.ts'

const DAY = 86_400_000
const NOW = Date.UTC(2026, 0, 1)
const VALIDITY = { fromMs: NOW, untilMs: NOW + 30 * DAY }
const NAMES = ['hook.metallb-system.svc', 'localhost', '192.0.2.1', '2001:db8::1']

test('a server certificate is good for its names, under its own authority only', () => {
  const [authority, other] = [makeAuthority('ca', VALIDITY), makeAuthority('ca', VALIDITY)]
  const server = makeServerCertificate(NAMES, authority, VALIDITY)
  assert(isPair(server))
  assert(isSignedFor(server.certPem, authority.certPem, NAMES))
  assert(!isSignedFor(server.certPem, other.certPem, NAMES))
  assert(!isSignedFor(server.certPem, authority.certPem, ['hook.elsewhere.svc']))
  assert(!isSignedFor(server.certPem, authority.certPem, ['192.0.2.2']))
  assert(!isPair({ certPem: server.certPem, keyPem: authority.keyPem }))
})

test('read back: validity in whole seconds, who is an authority, all of a bundle', () => {
  const authority = makeAuthority('ca', VALIDITY)
  const server = makeServerCertificate(NAMES, authority, { fromMs: NOW, untilMs: Date.UTC(2051, 0, 1) })
  const [first, second, ...rest] = readCertificates(`# a bundle\n${authority.certPem}${server.certPem}`) ?? []
  assert(first !== undefined && second !== undefined && rest.length === 0)
  assert.deepEqual(
    { fromMs: first.fromMs, untilMs: first.untilMs, isAuthority: first.isAuthority, pem: first.pem },
    { ...VALIDITY, isAuthority: true, pem: authority.certPem },
  )
  // GeneralizedTime, from 2050 on.
  assert.equal(second.untilMs, Date.UTC(2051, 0, 1))
  assert.equal(second.isAuthority, false)
  assert.notEqual(first.fingerprint, second.fingerprint)
})

test('an authority that others made with RSA signs too', t => {
  if (!hasOpenssl()) return t.skip('no openssl')
  const folder = mkdtempSync(join(tmpdir(), 'lodestone-certificates-'))
  try {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    const key = join(folder, 'key')
    writeFileSync(key, keyPem)
    const subject = ['-subj', '/O=cert-controller/CN=cert', '-addext', 'keyUsage=keyCertSign']
    const certPem = execFileSync('openssl', [
      'req',
      '-x509',
      '-key',
      key,
      '-days',
      '9',
      ...subject,
    ]).toString()
    const now = Date.now()
    const validity = { fromMs: now - 1000, untilMs: now + DAY }
    const server = makeServerCertificate(NAMES, { certPem, keyPem }, validity)
    assert(isSignedFor(server.certPem, certPem, NAMES))
    assert.equal(verifiedByOpenssl(folder, certPem, server.certPem, NAMES[0] ?? ''), true)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('openssl accepts the chain from a bundle of an old and a new authority of the same name', t => {
  if (!hasOpenssl()) return t.skip('no openssl')
  const folder = mkdtempSync(join(tmpdir(), 'lodestone-certificates-'))
  try {
    const now = Date.now()
    const validity = { fromMs: now - 1000, untilMs: now + DAY }
    const [old, fresh] = [makeAuthority('ca', validity), makeAuthority('ca', validity)]
    const server = makeServerCertificate(NAMES, fresh, validity)
    for (const bundle of [old.certPem + fresh.certPem, fresh.certPem + old.certPem]) {
      assert.equal(verifiedByOpenssl(folder, bundle, server.certPem, NAMES[0] ?? ''), true)
    }
    assert.equal(verifiedByOpenssl(folder, old.certPem, server.certPem, NAMES[0] ?? ''), false)
    assert.equal(verifiedByOpenssl(folder, fresh.certPem, server.certPem, 'other.svc'), false)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('what is no certificate is no exception', () => {
  const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
  assert.equal(readCertificates(broken), undefined)
  assert.deepEqual(readCertificates('nothing'), [])
  assert.equal(isPair({ certPem: broken, keyPem: '' }), false)
  assert.equal(isSignedFor(broken, broken, []), false)
})

function hasOpenssl(): boolean {
  try {
    execFileSync('openssl', ['version'])
    return true
  } catch {
    // Not installed: the caller skips.
    return false
  }
}

/** The strictest reading that openssl has. */
function verifiedByOpenssl(folder: string, caPem: string, certPem: string, host: string): boolean {
  writeFileSync(join(folder, 'ca.pem'), caPem)
  writeFileSync(join(folder, 'cert.pem'), certPem)
  const strict = ['-x509_strict', '-purpose', 'sslserver', '-verify_hostname', host]
  try {
    execFileSync(
      'openssl',
      ['verify', '-CAfile', join(folder, 'ca.pem'), ...strict, join(folder, 'cert.pem')],
      {
        stdio: 'pipe',
      },
    )
    return true
  } catch {
    // Its exit status is the answer.
    return false
  }
}
