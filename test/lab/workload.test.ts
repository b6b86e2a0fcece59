import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { outagesAfterMark } from '../../src/lab/probe/analysis.ts'
import { type SpawnProbe, startProbe } from '../../src/lab/probe/probe.ts'

const WEB = fileURLToPath(new URL('../../src/lab/web/main.js', import.meta.url))
const here: SpawnProbe = ([command, ...args]) => spawn(command ?? '', args, { stdio: 'pipe' })

type Ports = { http: number; udp: number; stream: number }

/** A web program on free ports of the loopback; gone when the test ends. */
async function startWeb(
  t: TestContext,
  environment: Record<string, string> = {},
): Promise<{ child: ChildProcess; ports: Ports }> {
  const child = spawn(process.execPath, [WEB], {
    env: {
      ...process.env,
      POD_NAME: 'web-1',
      NODE_NAME: 'n1',
      WEB_PORT: '0',
      WEB_STREAM_PORT: '0',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  const line = await new Promise<string>((done, fail) => {
    child.stdout.setEncoding('utf8').once('data', done)
    child.once('exit', code => fail(new Error(`the web program ended with ${code}`)))
  })
  return { child, ports: JSON.parse(line) as Ports }
}

for (const target of ['127.0.0.1', '::1']) {
  test(`the probe sees one outage while the web program at ${target} is stopped`, async t => {
    const { child, ports } = await startWeb(t)
    const probe = startProbe(here, { target, port: ports.udp })
    t.after(() => probe.stop())
    await probe.answered
    await new Promise(done => setTimeout(done, 200))
    probe.mark('stop')
    child.kill('SIGSTOP')
    const stoppedAt = performance.now()
    await new Promise(done => setTimeout(done, 400))
    const stoppedForMs = performance.now() - stoppedAt
    probe.mark('continue')
    child.kill('SIGCONT')
    await new Promise(done => setTimeout(done, 300))
    const report = await probe.stop()

    const [outage] = outagesAfterMark(report, 'stop')
    assert.ok(outage !== undefined, JSON.stringify(report, undefined, 1))
    const [stop, go] = report.marks
    // The signal and the probe are two processes: a few milliseconds may lie between the mark and the deed.
    assert.ok(outage.fromMs > (stop?.atMs ?? Infinity) - 20, `${outage.fromMs} after ${stop?.atMs}`)
    assert.ok(outage.toMs > (go?.atMs ?? Infinity), `${outage.toMs} after ${go?.atMs}`)
    assert.ok(outage.durationMs > stoppedForMs - 100, `${outage.durationMs} of ${stoppedForMs}`)
    assert.deepEqual(outage.firstAnswerBy, { pod: 'web-1', node: 'n1', client: target })
    assert.equal(outage.lost + outage.late > 200, true)
    assert.equal(report.sent, report.answered + report.lost)
    assert.ok(report.timeline.some(entry => (entry.nodes['n1'] ?? 0) > 0))
  })
}

test('the probe over TCP tells a draining web program from a serving one', async t => {
  const { child, ports } = await startWeb(t, { WEB_DRAIN_MS: '1000' })
  const ended = new Promise<number | null>(done => child.once('exit', done))
  const probe = startProbe(here, { target: '127.0.0.1', port: ports.http, protocol: 'tcp' })
  t.after(() => probe.stop())
  await probe.answered
  await new Promise(done => setTimeout(done, 200))
  child.kill('SIGTERM')
  assert.equal(await ended, 0)
  const report = await probe.stop()
  assert.ok((report.errors['HTTP 503'] ?? 0) > 10, JSON.stringify(report.errors))
  assert.equal(report.outages.at(-1)?.firstAnswerBy, null)
})

test('the stream port echoes each line with who answers', async t => {
  const { ports } = await startWeb(t)
  const socket = connect(ports.stream, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.setEncoding('utf8')
  let text = ''
  const whole = new Promise<void>(done =>
    socket.on('data', (chunk: string) => {
      text += chunk
      if (text.split('\n').length === 3) done()
    }),
  )
  socket.write('one\ntw')
  socket.write('o\n')
  await whole
  assert.equal(text, 'one web-1 n1 127.0.0.1\ntwo web-1 n1 127.0.0.1\n')
})

test('a probe that cannot start says why', async () => {
  const probe = startProbe(here, { target: '127.0.0.1', port: 70000 })
  await assert.rejects(probe.started, /--port must be a number/)
  await assert.rejects(probe.stop(), /--port must be a number/)
})
