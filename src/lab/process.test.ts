import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { FakeClock } from '../ports/clock.ts'
import { FakeLog } from '../ports/log.ts'
import { SupervisedProcess } from './process.ts'

const scratch = mkdtempSync(join(tmpdir(), 'lodestone-process-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

/** A child that ends when the test says so, or by SIGKILL and SIGTERM. */
class FakeChild extends EventEmitter {
  readonly pid = 2 ** 22 + 1 // above pid_max, so that /proc has nothing on it
  readonly stdout = new EventEmitter()
  readonly stderr = new EventEmitter()
  readonly signals: string[] = []

  kill(signal: string): boolean {
    this.signals.push(signal)
    if (signal === 'SIGKILL' || signal === 'SIGTERM') queueMicrotask(() => this.emit('exit', null, signal))
    return true
  }
}

let files = 0
function supervised() {
  const clock = new FakeClock()
  const children: FakeChild[] = []
  const process = new SupervisedProcess({
    name: 'speaker-node1',
    logFile: join(scratch, `${++files}.log`),
    clock,
    log: new FakeLog(),
    start() {
      const child = new FakeChild()
      children.push(child)
      return child as unknown as ChildProcess
    },
  })
  return { clock, children, process, last: () => children.at(-1) ?? assert.fail('not started') }
}

test('ready when its log says so, also when the line comes in pieces', async () => {
  const { process, last } = supervised()
  process.start()
  assert.equal(process.status().state, 'starting')
  const ready = process.whenReady()
  last().stdout.emit('data', Buffer.from('{"level":"info","event":"rea'))
  assert.equal(process.status().state, 'starting')
  last().stdout.emit('data', Buffer.from('dy","ms":3}\n'))
  await ready
  assert.equal(process.status().state, 'running')
  assert.equal(readFileSync(process.logFile, 'utf8'), '{"level":"info","event":"ready","ms":3}\n')
})

test('one that dies starts again, ever later, until it lives for ten seconds', () => {
  const { clock, children, process, last } = supervised()
  process.start()
  const delays: number[] = []
  for (let i = 0; i < 9; i++) {
    const count = children.length
    last().emit('exit', 1, null)
    assert.equal(process.status().state, 'restarting')
    let waited = 0
    for (; children.length === count; waited += 50) clock.advance(50)
    delays.push(waited)
  }
  assert.deepEqual(delays, [100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000])
  assert.equal(process.status().restarts, 9)
  clock.advance(10_000)
  last().emit('exit', 1, null)
  clock.advance(100)
  assert.equal(children.length, 11)
})

test('one that ends again and again before it is ready is reported, and started all the same', async () => {
  const { clock, children, process, last } = supervised()
  process.start()
  last().emit('exit', 1, null)
  clock.advance(100)
  last().stdout.emit('data', Buffer.from('{"event":"ready"}\n'))
  // Once it was ready, the count begins anew.
  last().emit('exit', 1, null)
  const failed = assert.rejects(process.whenReady(), {
    message: 'speaker-node1 ended 4 times in a row before it was ready (exit 3)',
  })
  for (let i = 0; i < 4; i++) {
    clock.advance(10_000)
    last().emit('exit', 3, null)
  }
  clock.advance(10_000)
  assert.equal(children.length, 7)
  await failed
})

test('one that was killed on purpose stays dead until it is wanted again', async () => {
  const { clock, children, process, last } = supervised()
  process.start()
  await process.stop('SIGKILL')
  assert.deepEqual(last().signals, ['SIGKILL'])
  clock.advance(60_000)
  assert.equal(process.status().state, 'stopped')
  assert.equal(children.length, 1)
  process.start()
  assert.equal(children.length, 2)
  assert.equal(process.status().restarts, 0)
})

test('stopping one that waits for its restart cancels the restart', async () => {
  const { clock, children, process, last } = supervised()
  process.start()
  last().emit('exit', 1, null)
  await process.stop('SIGTERM')
  clock.advance(60_000)
  assert.equal(children.length, 1)
  assert.equal(process.status().state, 'stopped')
})

test('a frozen one goes on when it is wanted, and can be asked to leave', async () => {
  const { process, last } = supervised()
  process.start()
  process.freeze()
  assert.equal(process.status().state, 'frozen')
  process.start()
  assert.equal(process.status().state, 'starting')
  process.freeze()
  await process.stop('SIGTERM')
  assert.deepEqual(last().signals, ['SIGSTOP', 'SIGCONT', 'SIGSTOP', 'SIGTERM', 'SIGCONT'])
})

test('a program that cannot be started is tried again', () => {
  const { clock, children, process, last } = supervised()
  process.start()
  last().emit('error', new Error('spawn ENOENT'))
  clock.advance(100)
  assert.equal(children.length, 2)
})
