import assert from 'node:assert/strict'
import { test } from 'node:test'
import { takeoversOf } from './takeovers.ts'

const run = (mac: string, fromMs: number, toMs: number) => ({ mac, fromMs, toMs, count: 1 })

test('an address that stays where it was has not moved, however often it was silent', () => {
  assert.equal(takeoversOf([]), 0)
  assert.equal(takeoversOf([run('a', 0, 100), run('a', 900, 1000)]), 0)
})

test('each other host counts once, until it was silent for a while', () => {
  const runs = [
    run('a', 0, 100),
    run('b', 101, 101),
    run('a', 102, 110),
    run('b', 111, 300),
    run('a', 301, 400),
  ]
  assert.equal(takeoversOf(runs), 1)
  assert.equal(takeoversOf([...runs, run('c', 401, 500), run('b', 2000, 2100)]), 3)
})
