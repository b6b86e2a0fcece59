import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../ports/clock.ts'
import { WriteQueue } from './write-queue.ts'

/** A queue whose writes end when the test says so. */
function start(concurrency: number, verdict: 'retry' | 'drop' = 'retry') {
  const clock = new FakeClock()
  const begun: string[] = []
  const ends = new Map<string, { resolve: () => void; reject: (error: Error) => void }>()
  const queue = new WriteQueue({
    clock,
    random: { next: () => 0.5 },
    concurrency,
    write: key =>
      new Promise((resolve, reject) => {
        begun.push(key)
        ends.set(key, { resolve, reject })
      }),
    onFailure: () => verdict,
  })
  const settle = () => new Promise<void>(resolve => setImmediate(resolve))
  return {
    clock,
    begun,
    queue,
    finish: async (key: string) => {
      ends.get(key)?.resolve()
      await settle()
    },
    fail: async (key: string) => {
      ends.get(key)?.reject(new Error('refused'))
      await settle()
    },
  }
}

test('no more writes run at once than allowed', async () => {
  const { queue, begun, finish } = start(2)
  for (const key of ['a', 'b', 'c']) queue.add(key)
  assert.deepEqual(begun, ['a', 'b'])
  await finish('a')
  assert.deepEqual(begun, ['a', 'b', 'c'])
})

test('a key waits once, and is not written twice at the same time', async () => {
  const { queue, begun, finish } = start(5)
  for (const key of ['a', 'a', 'a']) queue.add(key)
  assert.deepEqual(begun, ['a'])
  await finish('a')
  assert.deepEqual(begun, ['a', 'a'])
  await finish('a')
  assert.deepEqual(begun, ['a', 'a'])
  assert.equal(queue.size, 0)
})

test('a failure delays its own key, longer each time, and no other', async () => {
  const { clock, queue, begun, fail, finish } = start(1)
  queue.add('a')
  await fail('a')
  queue.add('b')
  assert.deepEqual(begun, ['a', 'b'])
  await finish('b')
  queue.add('a') // news do not shorten the delay
  clock.advance(99)
  assert.deepEqual(begun, ['a', 'b'])
  clock.advance(1)
  assert.deepEqual(begun, ['a', 'b', 'a'])
  await fail('a')
  clock.advance(199)
  assert.equal(begun.length, 3)
  clock.advance(1)
  assert.equal(begun.length, 4)
  await finish('a')
  queue.add('a')
  await fail('a')
  clock.advance(100)
  assert.equal(begun.length, 6, 'a success starts the delays over')
})

test('a key that is given up is forgotten', async () => {
  const { clock, queue, begun, fail } = start(1, 'drop')
  queue.add('a')
  await fail('a')
  clock.advance(100_000)
  assert.deepEqual([begun, queue.size], [['a'], 0])
})

test('a stop waits for what runs and starts nothing new', async () => {
  const { clock, queue, begun, fail, finish } = start(2)
  for (const key of ['failed', 'running', 'waiting']) queue.add(key)
  await fail('failed')
  assert.deepEqual(begun, ['failed', 'running', 'waiting'])
  let stopped = false
  const stop = queue.stop().then(() => {
    stopped = true
  })
  await finish('running')
  assert.equal(stopped, false)
  queue.add('late')
  await finish('waiting')
  await stop
  clock.advance(100_000)
  assert.deepEqual(begun, ['failed', 'running', 'waiting'])
})

test('what can wait is written when nothing else is to be written', async () => {
  const { queue, begun, finish } = start(1)
  queue.add('a')
  queue.add('later', { canWait: true })
  queue.add('urgent after all', { canWait: true })
  queue.add('b')
  queue.add('urgent after all')
  for (const key of ['a', 'b', 'urgent after all', 'later']) await finish(key)
  assert.deepEqual(begun, ['a', 'b', 'urgent after all', 'later'])
  assert.equal(queue.size, 0)
})

test('what is wanted again while it is written is written once more, after those that wait', async () => {
  const { queue, begun, finish } = start(1)
  queue.add('a')
  queue.add('a', { canWait: true })
  assert.equal(queue.isNext('a'), false)
  queue.add('a')
  queue.add('a', { canWait: true })
  assert.equal(queue.isNext('a'), true)
  queue.add('b')
  queue.add('later', { canWait: true })
  for (const key of ['a', 'b', 'a', 'later']) await finish(key)
  assert.deepEqual(begun, ['a', 'b', 'a', 'later'])
})

test('the order is kept after the line was empty', async () => {
  const { queue, begun, finish } = start(1)
  const keys = ['a', 'b', 'c']
  for (let round = 0; round < 3; round++) {
    for (const key of keys) queue.add(key)
    for (const key of keys) await finish(key)
  }
  assert.deepEqual(begun, [...keys, ...keys, ...keys])
  assert.equal(queue.size, 0)
})
