import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, parseIp } from '../addr/ip.ts'
import { type DatagramDetails, openDatagram } from './udp.ts'

function ip(text: string): Ip {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}

const fail = (error: Error): void => assert.ifError(error)

for (const text of ['127.0.0.1', '::1']) {
  test(`datagrams to ${text}: payload, sender, TTL and interface`, async () => {
    let resolve: (value: { payload: string; from: unknown; details: DatagramDetails }) => void
    const got = new Promise(done => {
      resolve = done
    })
    const receiver = openDatagram({
      ip: ip(text),
      port: 0,
      onDatagram: (payload, from, { ttl, interfaceIndex }) =>
        resolve({
          payload: Buffer.from(payload).toString(),
          from: { ip: from.ip, port: from.port },
          details: { ttl, interfaceIndex },
        }),
      onError: fail,
    })
    const sender = openDatagram({ ip: ip(text), port: 0, ttl: 255, onDatagram: () => {}, onError: fail })
    try {
      sender.send(Buffer.from('heartbeat'), { ip: ip(text), port: receiver.port })
      assert.deepEqual(await got, {
        payload: 'heartbeat',
        from: { ip: text, port: sender.port },
        details: { ttl: 255, interfaceIndex: 1 },
      })
      assert.equal(sender.stats().sent, 1)
      assert.equal(receiver.stats().received, 1)
    } finally {
      receiver.close()
      sender.close()
    }
  })
}

test('what cannot be sent is counted, also to a port where nobody listens; after closing nothing happens', () => {
  const socket = openDatagram({ ip: ip('127.0.0.1'), port: 0, onDatagram: () => {}, onError: fail })
  socket.send(Buffer.from('x'), { ip: ip('2001:db8::1'), port: 9 })
  socket.send(new Uint8Array(70_000), { ip: ip('127.0.0.1'), port: 9 })
  socket.send(Buffer.from('x'), { ip: ip('127.0.0.1'), port: 9 })
  assert.deepEqual(socket.stats(), { received: 0, dropped: 0, sent: 1, sendErrors: 2 })
  socket.close()
  socket.close()
  socket.send(Buffer.from('x'), { ip: ip('127.0.0.1'), port: 9 })
  assert.equal(socket.stats().sent, 1)
})

test('an address that is not ours, and a port that is taken', () => {
  const options = { onDatagram: () => {}, onError: fail }
  assert.throws(() => openDatagram({ ip: ip('192.0.2.1'), port: 0, ...options }), { code: 'EADDRNOTAVAIL' })
  const first = openDatagram({ ip: ip('127.0.0.1'), port: 0, ...options })
  try {
    assert.throws(() => openDatagram({ ip: ip('127.0.0.1'), port: first.port, ...options }), {
      code: 'EADDRINUSE',
      syscall: 'bind',
    })
  } finally {
    first.close()
  }
})
