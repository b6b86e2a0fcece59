// The demo as somebody without a terminal sees it.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { DemoReport } from '../../src/lab/demo/report.ts'
import { downLab } from '../../src/lab/lab.ts'
import { labPaths, readState } from '../../src/lab/state.ts'

const NAME = `demo-${process.pid}`
const CLI = new URL('../../src/cli/main.js', import.meta.url).href
const folder = mkdtempSync(join(tmpdir(), 'lodestone-demo-'))
after(async () => {
  rmSync(folder, { recursive: true, force: true })
  await downLab(NAME)
})

type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string }

/** Runs it to its end; `onOutput` hears all that was said so far. */
async function demo(
  flags: readonly string[],
  onOutput: (text: string, interrupt: () => void) => void = () => undefined,
): Promise<Ended> {
  const script = `const { main } = await import(${JSON.stringify(CLI)}); await main(process.argv)`
  // With --eval there is no file name among the arguments: this stands for it.
  const argv = [
    '--input-type=module',
    '--eval',
    script,
    '--',
    'lodestone',
    'lab',
    'demo',
    '--name',
    NAME,
    ...flags,
  ]
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    onOutput(stdout, () => child.kill('SIGINT'))
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const code = await new Promise<number | null>(resolve => child.on('close', resolve))
  return { code, stdout, stderr }
}

test('the demo proves what it shows, in plain text and as JSON', async () => {
  const file = join(folder, 'demo.json')
  const { code, stdout, stderr } = await demo(['--json', file])
  assert.equal(stderr, '', stdout)
  assert.doesNotMatch(stdout, /[^\n\x20-\x7e]/)
  assert.equal(readState(labPaths(NAME)), undefined, 'the lab is gone')

  const report = JSON.parse(readFileSync(file, 'utf8')) as DemoReport
  // How fast a takeover is depends on what else this machine does, so that it is no matter for a test: then the exit status is 1.
  const slow = /^default\/web-\w+, [\w ]+: \S+ did not answer for \d+ ms, the limit is 1000 ms$/
  assert.deepEqual(
    report.problems.filter(problem => !slow.test(problem)),
    [],
  )
  assert.equal(code, report.problems.length === 0 ? 0 : 1)
  assert.equal(stdout.trimEnd().split('\n').at(-1), report.summary)
  if (code === 0) {
    assert.match(report.summary, /^proven: 4 addresses of 2 Services answered 80 of 80 requests; 6 kills, /)
  }
  assert.ok(report.durationMs > 0)
  assert.ok(Number.isFinite(Date.parse(report.startedAt)))
  assert.deepEqual(
    report.nodes.map(({ name, ips }) => [name, ips.length]),
    [
      ['node1', 2],
      ['node2', 2],
      ['node3', 2],
    ],
  )
  assert.deepEqual(
    report.services.map(({ service, policy, addresses }) => [
      service,
      policy,
      addresses.map(each => each.family),
    ]),
    [
      ['default/web-cluster', 'Cluster', ['IPv4', 'IPv6']],
      ['default/web-local', 'Local', ['IPv4', 'IPv6']],
    ],
  )
  const [cluster, local] = report.services
  for (const service of ['default/web-cluster', 'default/web-local']) {
    assert.deepEqual(
      report.failovers.filter(each => each.service === service).map(({ how }) => how),
      ['link', 'process', 'drain'],
    )
  }
  for (const address of [...(cluster?.addresses ?? []), ...(local?.addresses ?? [])]) {
    assert.ok(stdout.includes(` ${address.ip} `), `${address.ip} is in the table`)
    assert.match(address.owner, /^node[123]$/)
    assert.equal(address.fetched.answered, 20)
    assert.ok(
      address.fetched.answerers.every(({ pod, node, client }) => pod !== '' && node !== '' && client !== ''),
    )
  }
  for (const { addresses, nodeAfter, nodeBack, nodeBefore, outageMs } of report.failovers) {
    assert.notEqual(nodeAfter, nodeBefore)
    assert.equal(nodeBack, nodeBefore)
    assert.equal(addresses.length, 2)
    assert.ok(addresses.every(each => each.outageMs <= outageMs && each.report.timeline.length > 0))
  }
  // The picture: a mark, and a row for each address of each kill.
  assert.equal(stdout.match(/^ {2}(link cut|speaker SIGKILLed|orderly drain) +v kill/gm)?.length, 3)
  assert.equal(stdout.match(/^ {4}web-(cluster|local) IPv[46] +[123abc.]+/gm)?.length, 12)
})

test('interrupted, it takes the lab down', async () => {
  let interrupted = false
  const { code, stderr } = await demo([], (text, interrupt) => {
    if (interrupted || !text.includes('applied ')) return
    interrupted = true
    interrupt()
  })
  assert.equal(interrupted, true)
  assert.equal(code, 130)
  assert.equal(stderr, 'lodestone lab: interrupted, nothing is left behind\n')
  assert.equal(readState(labPaths(NAME)), undefined)
})

test('a report that cannot be written is noticed before the work', async () => {
  const { code, stdout, stderr } = await demo(['--json', join(folder, 'missing/demo.json')])
  assert.equal(code, 1)
  assert.equal(stdout, '')
  assert.match(stderr, /^lodestone lab: --json .* cannot be written to\n$/)
  assert.match((await demo(['--json', folder])).stderr, /^lodestone lab: --json .*: this is a folder\n$/)
})
