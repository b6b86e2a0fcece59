// The BFD session machine against FRR's bfdd and BIRD.
import assert from 'node:assert/strict'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { before, test } from 'node:test'
import { type Effect, type Event, nextDeadline, step } from '../../src/bfd/machine.ts'
import {
  type BfdConfig,
  type BfdSession,
  createBfd,
  detectionTimeUs,
  transmitIntervalUs,
} from '../../src/bfd/session.ts'
import { BFD_SOURCE_PORTS, SINGLE_HOP } from '../../src/bfd/transport.ts'
import { type BfdKey, decodeBfdControl } from '../../src/wire/bfd.ts'
import { DecodeError } from '../../src/wire/io.ts'
import {
  birdShow,
  buildLink,
  frrShow,
  OURS,
  type Router,
  startBird,
  startFrr,
  THEIRS,
  waitFor,
} from './routers.ts'
import { outside } from './steering-lab.ts'

const CONFIG: BfdConfig = {
  desiredMinTxUs: 100_000,
  requiredMinRxUs: 100_000,
  detectMultiplier: 5,
  requiredMinEchoRxUs: 0,
  echoIntervalUs: null,
  passive: false,
  key: null,
}

type WithoutTime<T> = T extends unknown ? Omit<T, 'now' | 'random'> : never

/** Runs one machine over UDP: what a test needs, and no more. */
class BfdRunner {
  readonly session: BfdSession
  readonly changes: Extract<Effect, { type: 'state-changed' }>[] = []
  readonly drops: string[] = []
  #timer: NodeJS.Timeout | undefined
  readonly #in: Socket = createSocket('udp4')
  readonly #out: Socket = createSocket('udp4')
  #closed = false

  constructor(config: Partial<BfdConfig>) {
    this.session = createBfd({ ...CONFIG, ...config }, { discriminator: 0x4c53, sequence: 0xfffffff0 })
  }

  async start(): Promise<void> {
    this.#in.bind(SINGLE_HOP.port, OURS.v4)
    this.#out.bind(BFD_SOURCE_PORTS.first, OURS.v4)
    await Promise.all([once(this.#in, 'listening'), once(this.#out, 'listening')])
    this.#out.setTTL(SINGLE_HOP.sendTtl)
    this.#out.on('error', () => {})
    this.#in.on('message', bytes => {
      try {
        this.run({ type: 'packet', packet: decodeBfdControl(bytes), bytes })
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error
        this.drops.push(error.message)
      }
    })
    this.run({ type: 'tick' })
  }

  run(event: WithoutTime<Event>): void {
    if (this.#closed) return
    for (const effect of step(this.session, { ...event, now: performance.now(), random: Math.random() })) {
      // A peer that is not there makes the kernel say so, which is nothing to us.
      if (effect.type === 'send') this.#out.send(effect.bytes, SINGLE_HOP.port, THEIRS.v4, () => {})
      else if (effect.type === 'state-changed') this.changes.push(effect)
      else if (effect.type === 'dropped') this.drops.push(effect.why)
    }
    clearTimeout(this.#timer)
    const wait = nextDeadline(this.session) - performance.now()
    if (Number.isFinite(wait)) this.#timer = setTimeout(() => this.run({ type: 'tick' }), Math.max(0, wait))
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#in.close()
    this.#out.close()
  }
}

const bird = (more: string) =>
  startBird(`protocol bfd node {
  interface "eth0" { min rx interval 100 ms; min tx interval 100 ms; idle tx interval 300 ms; multiplier 5; ${more} };
  neighbor ${OURS.v4} dev "eth0" local ${THEIRS.v4};
}`)
const birdSees = (router: Router) =>
  new RegExp(`${OURS.v4.replaceAll('.', '\\.')} +eth0 +(\\w+)`).exec(
    birdShow(router, 'show', 'bfd', 'sessions'),
  )?.[1]

const KINDS = [
  {
    name: 'FRR',
    program: '/usr/lib/frr/bfdd',
    start: () =>
      startFrr({
        zebra: 'hostname router\n',
        bfdd: `bfd\n peer ${OURS.v4}\n  transmit-interval 100\n  receive-interval 100\n  detect-multiplier 5\n exit\nexit\n`,
      }),
    sees: (router: Router) => (frrShow(router, `show bfd peer ${OURS.v4}`) as { status?: string }).status,
  },
  { name: 'BIRD', program: '/usr/sbin/bird', start: () => bird(''), sees: birdSees },
]

if (!outside('BFD with real routers', import.meta.url)) {
  before(buildLink)

  /** Runs the test with a session that is up on both sides. */
  const withSession = async (
    start: () => Router,
    sees: (router: Router) => string | undefined,
    config: Partial<BfdConfig>,
    run: (runner: BfdRunner, router: Router) => Promise<void>,
  ) => {
    const router = start()
    const runner = new BfdRunner(config)
    try {
      await runner.start()
      await waitFor('the session', () => runner.session.state === 'Up')
      await waitFor('the router', () => sees(router)?.toLowerCase() === 'up')
      await run(runner, router)
    } catch (error) {
      throw new Error(
        `${JSON.stringify(runner.changes)}\n${runner.drops.slice(0, 5).join('\n')}\n${router.log}`,
        {
          cause: error,
        },
      )
    } finally {
      runner.close()
      router.close()
    }
  }

  for (const { name, program, start, sees } of KINDS) {
    const skip = existsSync(program) ? false : `${program} is not installed`
    test(`${name}: up, timers agreed by a poll, and its death is seen`, { skip }, () =>
      withSession(start, sees, {}, async (runner, router) => {
        const { session } = runner
        await waitFor('our poll to be answered', () => !session.polling)
        await waitFor('the agreed interval', () => transmitIntervalUs(session) === 100_000)
        assert.equal(detectionTimeUs(session), 500_000)
        router.close()
        await waitFor('the failure', () => session.state === 'Down', 5_000)
        const last = runner.changes.at(-1)
        assert.deepEqual([last?.from, last?.diagnostic, last?.failure], ['Up', 1, true])
      }),
    )

    test(`${name}: slower and faster while it is up, and never a flap`, { skip }, () =>
      withSession(start, sees, {}, async runner => {
        const { session } = runner
        await waitFor('the first poll', () => !session.polling)
        for (const interval of [400_000, 150_000]) {
          runner.run({
            type: 'configure',
            config: { ...CONFIG, desiredMinTxUs: interval, requiredMinRxUs: interval },
          })
          await waitFor('the answer to the poll', () => !session.polling)
          await waitFor('the interval', () => transmitIntervalUs(session) === interval)
          await waitFor("the peer's", () => detectionTimeUs(session) === 5 * interval)
        }
        assert.equal(session.state, 'Up')
        assert.equal(runner.changes.filter(({ to }) => to === 'Down').length, 0)
      }),
    )

    test(`${name}: is told that we are disabled`, { skip }, () =>
      withSession(start, sees, {}, async (runner, router) => {
        runner.run({ type: 'disable' })
        await waitFor('the router', () => sees(router)?.toLowerCase() === 'down')
        runner.run({ type: 'enable' })
        await waitFor('the session', () => runner.session.state === 'Up')
      }),
    )
  }

  const TYPES = {
    'simple-password': 'simple',
    'keyed-md5': 'keyed md5',
    'meticulous-keyed-md5': 'meticulous keyed md5',
    'keyed-sha1': 'keyed sha1',
    'meticulous-keyed-sha1': 'meticulous keyed sha1',
  } as const satisfies Record<BfdKey['type'], string>
  const skip = existsSync('/usr/sbin/bird') ? false : 'BIRD is not installed'
  for (const type of Object.keys(TYPES) as BfdKey['type'][]) {
    test(`BIRD with ${type}: our numbers wrap around while it is up`, { skip }, () => {
      const key: BfdKey = { id: 7, type, secret: new TextEncoder().encode('lodestone') }
      const start = () => bird(`authentication ${TYPES[type]}; password "lodestone" { id 7; };`)
      return withSession(start, birdSees, { key }, async runner => {
        const { session } = runner
        await waitFor('twenty packets', () => session.transmitSequence < 100)
        assert.equal(session.state, 'Up')
        assert.deepEqual(runner.drops, [])
      })
    })
  }
}
