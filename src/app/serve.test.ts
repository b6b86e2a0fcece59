import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serve } from './serve.ts'

const up = {
  ready: () => true,
  metrics: () => Promise.resolve('metallb_speaker_announced 1\n'),
  status: () => ({ node: 'a' }),
}

async function get(port: number, path: string, method = 'GET'): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers: { connection: 'close' } })
  return `${answer.status} ${answer.headers.get('content-type')} ${await answer.text()}`.trim()
}

test('probes, metrics and status', async t => {
  let ready = false
  const server = await serve('127.0.0.1', 0, { ...up, ready: () => ready })
  t.after(() => server.close())
  assert.equal(await get(server.port, '/healthz'), '200 text/plain ok')
  assert.equal(await get(server.port, '/readyz'), '503 text/plain not ready')
  ready = true
  assert.equal(await get(server.port, '/readyz?verbose'), '200 text/plain ok')
  assert.equal(await get(server.port, '/status'), '200 application/json {"node":"a"}')
  assert.equal(
    await get(server.port, '/metrics'),
    '200 text/plain; version=0.0.4 metallb_speaker_announced 1',
  )
  assert.equal(await get(server.port, '/healthz', 'HEAD'), '200 text/plain')
})

test('what is not there, not allowed or fails is an answer too', async t => {
  const server = await serve('127.0.0.1', 0, {
    ...up,
    metrics: () => Promise.reject(new Error('no numbers')),
  })
  t.after(() => server.close())
  assert.match(await get(server.port, '/secrets'), /^404 .*there is \/healthz/)
  assert.equal(await get(server.port, '/status', 'POST'), '405 text/plain only GET')
  assert.equal(await get(server.port, '/metrics'), '500 text/plain Error: no numbers')
})

test('an address in use is one sentence', async t => {
  const server = await serve('127.0.0.1', 0, up)
  t.after(() => server.close())
  await assert.rejects(serve('127.0.0.1', server.port, up), {
    message: new RegExp(`^cannot serve on 127\\.0\\.0\\.1 port ${server.port}: .*EADDRINUSE`),
  })
})
