import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BGP_NOTIFICATIONS } from '../../../test/golden/bgp.ts'
import { BgpError } from './error.ts'
import { decodeMessage, encodeMessage } from './message.ts'
import {
  ceaseWithText,
  describeNotification,
  hardReset,
  hardResetReason,
  NOTIFICATION,
  notification,
  shutdownText,
} from './notification.ts'

const CONTEXT = { fourOctetAs: true, internal: false }

test('the NOTIFICATIONs of others, in words', () => {
  const words = Object.entries(BGP_NOTIFICATIONS).map(([name, bytes]) => {
    const message = decodeMessage(bytes, CONTEXT)
    assert(message.type === 'notification')
    assert.deepEqual(encodeMessage(message), bytes, name)
    return [name, describeNotification(message)]
  })
  assert.deepEqual(words, [
    ['birdShutdown', 'Cease / Administrative Shutdown: "going home"'],
    ['frrShutdown', 'Cease / Administrative Shutdown: "maintenance tonight"'],
    ['gobgpShutdown', 'Cease / Administrative Shutdown'],
    ['frrBadPeerAs', 'OPEN Message Error / Bad Peer AS'],
  ])
})

test('a shutdown with a text is what FRR sends (RFC 9003)', () => {
  assert.deepEqual(encodeMessage(ceaseWithText(2, 'maintenance tonight')), BGP_NOTIFICATIONS.frrShutdown)
})

test('a text is cut at 255 bytes, between two characters', () => {
  const text = shutdownText(ceaseWithText(4, 'ä'.repeat(200)))
  assert.equal(text, 'ä'.repeat(127))
  assert.equal(ceaseWithText(4, 'ä'.repeat(200)).data.length, 255)
  assert.equal(shutdownText(ceaseWithText(2, '')), undefined)
})

test('a text that is wrong is none, and what would deceive a reader is replaced', () => {
  const { code, administrativeShutdown, administrativeReset, peerDeconfigured } = NOTIFICATION.cease
  assert.equal(shutdownText(notification(code, administrativeShutdown)), undefined)
  assert.equal(shutdownText(notification(code, administrativeShutdown, Uint8Array.of(5, 97))), undefined)
  assert.equal(shutdownText(notification(code, administrativeShutdown, Uint8Array.of(1, 0xff))), undefined)
  assert.equal(shutdownText(notification(code, administrativeReset, Uint8Array.of(1, 97, 98))), 'a')
  assert.equal(shutdownText(notification(code, peerDeconfigured, Uint8Array.of(1, 97))), undefined)
  assert.equal(shutdownText(notification(3, administrativeShutdown, Uint8Array.of(1, 97))), undefined)
  const nasty = ceaseWithText(2, 'a\u001b[2Jb\nc\u202ed\u2028')
  assert.equal(shutdownText(nasty), 'a\ufffd[2Jb\ufffdc\ufffdd\ufffd')
})

test('every code and subcode has words, also those that nobody has named', () => {
  for (const [name, { code, ...subcodes }] of Object.entries(NOTIFICATION)) {
    assert(!describeNotification(notification(code)).includes('code'), name)
    for (const subcode of Object.values<number>(subcodes)) {
      const words = describeNotification(notification(code, subcode))
      assert(/^[A-Z].* \/ [A-Z]/.test(words), `${code}/${subcode}: ${words}`)
    }
  }
  assert.equal(describeNotification(notification(3, 99)), 'UPDATE Message Error / subcode 99')
  assert.equal(describeNotification(notification(99, 1)), 'code 99 / subcode 1')
})

test('a Hard Reset holds the reason (RFC 8538 section 3.1)', () => {
  const reset = hardReset(ceaseWithText(2, 'upgrade'))
  assert.deepEqual(hardResetReason(reset), ceaseWithText(2, 'upgrade'))
  assert.equal(describeNotification(reset), 'Cease / Hard Reset: Cease / Administrative Shutdown: "upgrade"')
  assert.equal(describeNotification(notification(6, 9)), 'Cease / Hard Reset')
  assert.equal(hardResetReason(hardReset(reset)), undefined)
})

test('a NOTIFICATION that is wrong is not answered by another (RFC 4271 section 6.4)', () => {
  const bytes = BGP_NOTIFICATIONS.gobgpShutdown.slice(0, 20)
  bytes[17] = 20
  assert.throws(
    () => decodeMessage(bytes, CONTEXT),
    (error: unknown) => error instanceof BgpError && error.notification === null,
  )
})
