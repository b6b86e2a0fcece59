import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { KubeErrorCode } from '../ports/kube.ts'
import {
  backoffMs,
  INITIAL,
  type ReflectorEffect,
  type ReflectorEvent,
  type ReflectorState,
  type StepInput,
  step,
} from './machine.ts'

const INPUT: StepInput = { now: 100_000, random: 0, pageLimit: 500 }
const listing = { phase: 'listing', continue: undefined, limit: 500, expired: 0, failures: 0 } as const
const paging = { ...listing, continue: 'c1' } as const
/** Opened a moment ago. */
const watching = {
  phase: 'watching',
  resourceVersion: '7',
  openedAt: 99_000,
  progressed: false,
  failures: 0,
} as const
const settled = { ...watching, openedAt: 10_000 } as const
const failed = (code: KubeErrorCode, retryAfterMs?: number): ReflectorEvent => ({
  type: 'failed',
  code,
  retryAfterMs,
})

const WATCH_7: ReflectorEffect = { type: 'watch', resourceVersion: '7', timeoutSeconds: 300 }
const LIST: ReflectorEffect = { type: 'list', continue: undefined, limit: 500 }
const DISCARD: ReflectorEffect = { type: 'discard' }
const wait = (ms: number): ReflectorEffect => ({ type: 'wait', ms })

type Row = readonly [
  string,
  ReflectorState,
  ReflectorEvent,
  readonly ReflectorEffect[],
  Record<string, unknown>,
]

const TABLE: readonly Row[] = [
  ['starts with a list', INITIAL, { type: 'start' }, [LIST], { phase: 'listing' }],
  [
    'a page that is not the last asks for the next',
    listing,
    { type: 'page', resourceVersion: '7', continue: 'c1' },
    [{ type: 'list', continue: 'c1', limit: 500 }],
    { continue: 'c1' },
  ],
  [
    'the last page makes the store, and is watched from',
    paging,
    { type: 'page', resourceVersion: '7', continue: undefined },
    [{ type: 'replace' }, WATCH_7],
    { phase: 'watching', resourceVersion: '7' },
  ],
  [
    'the first 410 between pages starts over at once',
    paging,
    failed('gone'),
    [DISCARD, LIST],
    { expired: 1, failures: 1 },
  ],
  [
    'the second 410 between pages waits, then asks for all at once',
    { ...paging, expired: 1, failures: 1 },
    failed('gone'),
    [DISCARD, wait(1600)],
    { next: { to: 'list', continue: undefined, limit: 0, expired: 2 } },
  ],
  [
    'a 410 on the first page waits',
    listing,
    failed('gone'),
    [DISCARD, wait(800)],
    { next: { to: 'list', continue: undefined, limit: 500, expired: 0 } },
  ],
  [
    'a page that cannot be had now is asked for again, what was gathered stays',
    paging,
    failed('throttled', 7000),
    [wait(7000)],
    { next: { to: 'list', continue: 'c1', limit: 500, expired: 0 } },
  ],
  [
    'an answer too large or broken makes pages smaller',
    listing,
    failed('bad-answer'),
    [DISCARD, wait(800)],
    { next: { to: 'list', continue: undefined, limit: 100, expired: 0 } },
  ],
  [
    'all at once was too much: back to pages',
    { ...listing, limit: 0, expired: 2 },
    failed('bad-answer'),
    [DISCARD, wait(800)],
    { next: { to: 'list', continue: undefined, limit: 500, expired: 0 } },
  ],
  [
    'a list that is forbidden is tried again',
    listing,
    failed('forbidden'),
    [DISCARD, wait(800)],
    { failures: 1 },
  ],
  [
    'an event moves the position',
    watching,
    { type: 'watched', resourceVersion: '9' },
    [],
    { resourceVersion: '9', progressed: true },
  ],
  [
    'a bookmark that says nothing new is no progress',
    watching,
    { type: 'watched', resourceVersion: '7' },
    [],
    { progressed: false },
  ],
  [
    'a watch that lasted is followed by the next',
    { ...settled, failures: 5 },
    { type: 'closed' },
    [WATCH_7],
    { failures: 0, openedAt: 100_000 },
  ],
  [
    'a watch closed at once is reopened after a pause',
    watching,
    { type: 'closed' },
    [wait(800)],
    { failures: 1, next: { to: 'watch', resourceVersion: '7' } },
  ],
  [
    'closed at once again: a longer pause',
    { ...watching, failures: 3 },
    { type: 'closed' },
    [wait(6400)],
    { failures: 4 },
  ],
  [
    'closed after something new: the shortest pause',
    { ...watching, failures: 3, progressed: true },
    { type: 'closed' },
    [wait(800)],
    { failures: 1 },
  ],
  ['a first 410 lists at once', watching, failed('gone'), [LIST], { phase: 'listing', failures: 1 }],
  [
    'a 410 after a long watch lists at once',
    { ...settled, failures: 4, progressed: true },
    failed('gone'),
    [LIST],
    { failures: 1 },
  ],
  ['a 410 after a 410 waits', { ...watching, failures: 1 }, failed('gone'), [wait(1600)], { failures: 2 }],
  [
    'a 410 in a loop of one event each waits',
    { ...watching, progressed: true },
    failed('gone'),
    [wait(800)],
    { failures: 1 },
  ],
  [
    'a broken line lists, for what else was lost',
    settled,
    failed('bad-answer'),
    [wait(800)],
    { next: { to: 'list', continue: undefined, limit: 500, expired: 0 } },
  ],
  [
    'a broken connection goes on where it was',
    { ...watching, failures: 8 },
    failed('unreachable'),
    [wait(15_000)],
    { next: { to: 'watch', resourceVersion: '7' } },
  ],
  [
    'a server error goes on where it was',
    watching,
    failed('server-error'),
    [wait(800)],
    { next: { to: 'watch', resourceVersion: '7' } },
  ],
  [
    'a third server error lists: the server may not know our version',
    { ...watching, failures: 2 },
    failed('server-error'),
    [wait(3200)],
    { next: { to: 'list', continue: undefined, limit: 500, expired: 0 } },
  ],
  ['Retry-After is honoured', watching, failed('throttled', 45_000), [wait(45_000)], { failures: 1 }],
  ['but not for ever', watching, failed('throttled', 86_400_000), [wait(120_000)], { failures: 1 }],
  [
    'after the wait: the list goes on',
    { phase: 'waiting', failures: 2, next: { to: 'list', continue: 'c1', limit: 500, expired: 0 } },
    { type: 'waited' },
    [{ type: 'list', continue: 'c1', limit: 500 }],
    { phase: 'listing', failures: 2 },
  ],
  [
    'after the wait: the watch goes on',
    { phase: 'waiting', failures: 2, next: { to: 'watch', resourceVersion: '7' } },
    { type: 'waited' },
    [WATCH_7],
    { phase: 'watching', failures: 2 },
  ],
]

for (const [name, state, event, effects, expected] of TABLE)
  test(name, () => {
    const result = step(state, event, INPUT)
    assert.deepEqual(result.effects, effects)
    assert.deepEqual(result.state, { ...result.state, ...expected })
  })

test('every pair that the table does not know is a mistake of the driver', () => {
  const events: ReflectorEvent[] = [
    { type: 'start' },
    { type: 'page', resourceVersion: '1', continue: undefined },
    { type: 'watched', resourceVersion: '1' },
    { type: 'closed' },
    failed('gone'),
    { type: 'waited' },
  ]
  const states: ReflectorState[] = [
    INITIAL,
    listing,
    watching,
    { phase: 'waiting', failures: 0, next: { to: 'watch', resourceVersion: '7' } },
  ]
  const legal = new Set(TABLE.map(([, state, event]) => `${state.phase} ${event.type}`))
  let refused = 0
  for (const state of states)
    for (const event of events)
      if (!legal.has(`${state.phase} ${event.type}`)) {
        assert.throws(() => step(state, event, INPUT), /reflector: /)
        refused++
      }
  assert.equal(legal.size + refused, states.length * events.length)
})

test('the back-off doubles from 800 ms to 30 s, its upper half random', () => {
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 7, 100].map(failures => backoffMs(failures, 0)),
    [800, 1600, 3200, 6400, 12_800, 15_000, 15_000, 15_000],
  )
  assert.deepEqual(
    [1, 100].map(failures => backoffMs(failures, 1)),
    [1600, 30_000],
  )
})

test('whatever a server does, at most two requests go out without a pause between', () => {
  const outcome = fc.constantFrom(
    'page',
    'more',
    'closed',
    'event-closed',
    'gone',
    'bad-answer',
    'unreachable',
    'server-error',
    'event-gone',
  )
  fc.assert(
    fc.property(
      fc.array(outcome, { minLength: 1, maxLength: 60 }),
      fc.double({ min: 0, max: 0.99, noNaN: true }),
      (outcomes, random) => {
        let state: ReflectorState = INITIAL
        let version = 0
        let inARow = 0
        const now = 5_000
        const apply = (event: ReflectorEvent): readonly ReflectorEffect[] => {
          const result = step(state, event, { now, random, pageLimit: 500 })
          state = result.state
          return result.effects
        }
        apply({ type: 'start' })
        for (const what of outcomes) {
          if (state.phase === 'waiting') apply({ type: 'waited' })
          const phase: ReflectorState['phase'] = state.phase
          let effects: readonly ReflectorEffect[]
          let progress = false
          if (phase === 'listing' && (what === 'page' || what === 'more')) {
            effects = apply({
              type: 'page',
              resourceVersion: '1',
              continue: what === 'more' ? 'c' : undefined,
            })
            progress = true
          } else if (phase === 'watching') {
            if (what.startsWith('event')) apply({ type: 'watched', resourceVersion: `v${version++}` })
            effects = what.endsWith('gone')
              ? apply(failed('gone'))
              : what === 'bad-answer' || what === 'unreachable' || what === 'server-error'
                ? apply(failed(what))
                : apply({ type: 'closed' })
          } else
            effects = apply(
              failed(
                what === 'gone' || what === 'unreachable' || what === 'server-error' ? what : 'bad-answer',
              ),
            )
          const paused = effects.some(effect => effect.type === 'wait' && effect.ms >= 800)
          if (progress) continue
          inARow = paused ? 0 : inARow + 1
          assert.ok(inARow <= 2, `${inARow} requests without a pause`)
        }
      },
    ),
  )
})
