import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Material, nextStep, rotationOptions, type Span } from './rotation.ts'

const DAY = 86_400_000
const HOUR = 3_600_000
const OPTIONS = rotationOptions(90 * DAY)
const { backdateMs, overlapMs, servingLifeMs, authorityLifeMs } = OPTIONS

const made = (atMs: number, lifeMs: number): Span => ({ fromMs: atMs - backdateMs, untilMs: atMs + lifeMs })

test('an hour of overlap, less for short lives', () => {
  assert.equal(overlapMs, HOUR)
  assert.deepEqual(rotationOptions(60_000), {
    servingLifeMs: 60_000,
    authorityLifeMs: 240_000,
    backdateMs: 6000,
    overlapMs: 3000,
  })
})

const AUTHORITY = made(0, authorityLifeMs)
const SERVING = { ...made(0, servingLifeMs), signedByAuthority: true }
const OLD = made(-200 * DAY, authorityLifeMs)

const CASES: readonly (readonly [string, Material, boolean, number, object])[] = [
  [
    'an empty Secret',
    { authority: undefined, serving: undefined, others: [] },
    false,
    0,
    { do: 'start-over' },
  ],
  [
    'fresh',
    { authority: AUTHORITY, serving: SERVING, others: [] },
    true,
    DAY,
    { do: 'wait', untilMs: -backdateMs + (servingLifeMs + backdateMs) * 0.6 },
  ],
  [
    'no usable serving certificate, a good authority',
    { authority: AUTHORITY, serving: undefined, others: [] },
    true,
    DAY,
    { do: 'renew-serving' },
  ],
  [
    'an expired serving certificate and an old authority',
    { authority: AUTHORITY, serving: SERVING, others: [] },
    true,
    300 * DAY,
    { do: 'start-over' },
  ],
  [
    'serving past its time',
    { authority: AUTHORITY, serving: SERVING, others: [] },
    true,
    55 * DAY,
    { do: 'renew-serving' },
  ],
  [
    'authority past its time',
    {
      authority: AUTHORITY,
      serving: { ...made(180 * DAY, servingLifeMs), signedByAuthority: true },
      others: [],
    },
    true,
    217 * DAY,
    { do: 'add-authority' },
  ],
  [
    'an authority without its key cannot sign, but what it signed is served on',
    { authority: undefined, serving: { ...SERVING, signedByAuthority: false }, others: [AUTHORITY] },
    true,
    DAY,
    { do: 'add-authority' },
  ],
  [
    'a new authority settles first',
    { authority: AUTHORITY, serving: { ...SERVING, signedByAuthority: false }, others: [OLD] },
    true,
    HOUR / 2,
    { do: 'wait', untilMs: overlapMs },
  ],
  [
    'a new authority that settled signs',
    { authority: AUTHORITY, serving: { ...SERVING, signedByAuthority: false }, others: [OLD] },
    true,
    overlapMs,
    { do: 'renew-serving' },
  ],
  [
    'nobody was told of the new authority: the old certificate serves on',
    { authority: AUTHORITY, serving: { ...SERVING, signedByAuthority: false }, others: [OLD] },
    false,
    2 * HOUR,
    { do: 'wait', untilMs: -backdateMs + (servingLifeMs + backdateMs) * 0.9 },
  ],
  [
    'nobody was told, but the old certificate ends',
    { authority: AUTHORITY, serving: { ...SERVING, signedByAuthority: false }, others: [OLD] },
    false,
    85 * DAY,
    { do: 'renew-serving' },
  ],
  [
    'the old authority is trusted until all replicas reloaded',
    { authority: AUTHORITY, serving: SERVING, others: [OLD] },
    true,
    HOUR / 2,
    { do: 'wait', untilMs: overlapMs },
  ],
  [
    'then it goes',
    { authority: AUTHORITY, serving: SERVING, others: [OLD] },
    true,
    overlapMs,
    { do: 'drop-others' },
  ],
]
for (const [name, material, published, nowMs, expected] of CASES) {
  test(`rotation: ${name}`, () => assert.deepEqual(nextStep(material, published, nowMs, OPTIONS), expected))
}

test('over years, what is served is always good, and signed by an authority that was trusted for the overlap', () => {
  const outages = fc.array(fc.record({ fromDay: fc.nat(1500), days: fc.nat(3) }, { noNullPrototype: true }), {
    maxLength: 5,
  })
  fc.assert(
    fc.property(outages, outages => {
      type Authority = Span & { readonly madeMs: number }
      let authorities: Authority[] = []
      let serving: (Span & { readonly by: Authority; readonly madeMs: number }) | undefined
      let steps = 0
      for (let now = 0; now < 1500 * DAY; ) {
        const away = outages.some(({ fromDay, days }) => now >= fromDay * DAY && now < (fromDay + days) * DAY)
        if (away) {
          now += DAY
          continue
        }
        const [authority, ...others] = authorities
        const current = serving
        const step = nextStep(
          {
            authority,
            serving: current && { ...current, signedByAuthority: current.by === authority },
            others,
          },
          true,
          now,
          OPTIONS,
        )
        const fresh = (): Authority => ({ ...made(now, authorityLifeMs), madeMs: now })
        const serve = (by: Authority) => {
          serving = { ...made(now, servingLifeMs), by, madeMs: now }
        }
        switch (step.do) {
          case 'start-over':
            assert.equal(now, steps === 0 ? now : -1, 'only at the very start')
            authorities = [fresh()]
            serve(authorities[0] as Authority)
            break
          case 'add-authority':
            authorities = [fresh(), ...authorities]
            break
          case 'renew-serving':
            assert(authority !== undefined)
            if (current?.by !== authority) assert(now >= authority.madeMs + overlapMs)
            serve(authority)
            break
          case 'drop-others':
            assert(current !== undefined && now >= current.madeMs + overlapMs)
            authorities = authorities.slice(0, 1)
            break
          case 'wait':
            assert(step.untilMs > now)
            now = step.untilMs
            break
        }
        steps++
        assert(steps < 1000, 'it settles')
        assert(authorities.length <= 2)
        if (serving !== undefined) {
          assert(authorities.includes(serving.by), 'what is served is trusted')
          assert(now < serving.fromMs + ((servingLifeMs + backdateMs) * 2) / 3 + 4 * DAY)
        }
      }
      assert(steps > 40)
    }),
    { numRuns: 50 },
  )
})
