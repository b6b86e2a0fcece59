import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../../addr/ip.ts'
import { FakeClock } from '../../ports/clock.ts'
import { FakeLog } from '../../ports/log.ts'
import { ContainerRunner } from './container-runner.ts'
import type { Check, CheckResult, Prober } from './prober.ts'
import type { Exit, Processes, ProcessRequest, RunningProcess } from './processes.ts'
import type { Container, Pod } from './resources.ts'

/** A process that ends when it is told to: by the test, by SIGKILL, and by SIGTERM unless it is stubborn. */
class FakeProcess implements RunningProcess {
  readonly pid: number
  readonly request: ProcessRequest
  readonly signals: string[] = []
  readonly exited: Promise<Exit>
  readonly #stubborn: boolean
  #exit: (exit: Exit) => void = () => {}

  constructor(pid: number, request: ProcessRequest, stubborn: boolean) {
    this.pid = pid
    this.request = request
    this.#stubborn = stubborn
    this.exited = new Promise(done => {
      this.#exit = done
    })
  }

  signal(signal: 'SIGTERM' | 'SIGKILL'): void {
    this.signals.push(signal)
    if (signal === 'SIGKILL') this.end(137)
    else if (!this.#stubborn) this.end(0)
  }

  end(code: number): void {
    this.#exit({ code, signal: undefined })
  }
}

/** One container on fakes. `checks` answers the probes over the network. */
class Bench {
  readonly clock = new FakeClock()
  readonly processes: FakeProcess[] = []
  readonly checks: Check[] = []
  healthy = true
  stubborn = false
  readonly runner: ContainerRunner

  constructor(container: Partial<Container>, spec: Partial<Pod['spec']> = {}) {
    const processes: Processes = {
      start: request => {
        const process = new FakeProcess(this.processes.length + 1, request, this.stubborn)
        this.processes.push(process)
        return process
      },
    }
    const prober: Prober = {
      check: (check): Promise<CheckResult> => {
        this.checks.push(check)
        return Promise.resolve({ ok: this.healthy, message: 'fake' })
      },
      close: () => {},
    }
    this.runner = new ContainerRunner(
      {
        pod: { metadata: { name: 'p', namespace: 'default' }, spec: { containers: [], ...spec } },
        placement: { node: 'n1', hostIps: [], podIps: ['198.51.100.2' as Ip] },
        namespace: 'ns',
        processes,
        prober,
        clock: this.clock,
        log: new FakeLog(),
        logFile: 'log',
        onChange: () => {},
      },
      { name: 'c', command: ['run'], ...container },
    )
  }

  get view() {
    return this.runner.view()
  }

  get process(): FakeProcess {
    const process = this.processes.at(-1)
    assert.ok(process !== undefined)
    return process
  }

  /** Lets time pass in steps, so that what promises started gets its turn. */
  async pass(ms: number): Promise<void> {
    for (let at = 0; at < ms; at += 50) {
      this.clock.advance(50)
      await settled()
    }
  }
}

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve()
}

test('without probes a container is ready as soon as it runs', () => {
  const bench = new Bench({})
  bench.runner.start()
  assert.equal(bench.view.ready, true)
  assert.deepEqual(bench.process.request.argv, ['run'])
  assert.equal(bench.process.request.namespace, 'ns')
})

test('readiness follows the probe, made to the named port of the pod', async () => {
  const bench = new Bench({
    ports: [{ name: 'http', containerPort: 8080 }],
    readinessProbe: { httpGet: { path: '/ready', port: 'http' }, periodSeconds: 1, failureThreshold: 2 },
  })
  bench.healthy = false
  bench.runner.start()
  await bench.pass(2000)
  assert.equal(bench.view.ready, false)
  bench.healthy = true
  await bench.pass(500)
  assert.equal(bench.view.ready, true)
  const [check] = bench.checks
  assert.deepEqual([check?.host, check?.port, check?.path], ['198.51.100.2', 8080, '/ready'])
  bench.healthy = false
  await bench.pass(1000)
  assert.equal(bench.view.ready, true)
  await bench.pass(1000)
  assert.equal(bench.view.ready, false)
  assert.equal(bench.processes.length, 1)
})

test('a container that fails its liveness probe is ended with grace and started again', async () => {
  const bench = new Bench(
    { livenessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1, failureThreshold: 2 } },
    { terminationGracePeriodSeconds: 3 },
  )
  bench.stubborn = true
  bench.runner.start()
  await bench.pass(1500)
  bench.healthy = false
  await bench.pass(2000)
  assert.deepEqual(bench.process.signals, ['SIGTERM'])
  await bench.pass(3000)
  assert.equal(bench.processes.length, 2)
  assert.equal(bench.view.restartCount, 1)
  assert.equal(bench.view.lastState.terminated?.exitCode, 137)
})

test('the startup probe holds the others back', async () => {
  const bench = new Bench({
    startupProbe: { httpGet: { port: 1 }, periodSeconds: 1, failureThreshold: 100 },
    readinessProbe: { httpGet: { port: 2 }, periodSeconds: 1 },
  })
  bench.healthy = false
  bench.runner.start()
  await bench.pass(3000)
  assert.ok(bench.checks.every(check => check.port === 1))
  assert.equal(bench.view.started, false)
  bench.healthy = true
  await bench.pass(1500)
  assert.equal(bench.view.started, true)
  assert.equal(bench.view.ready, true)
})

test('an exec probe is a command in the namespace of the pod; one that hangs counts as failed and is killed', async () => {
  const bench = new Bench({ readinessProbe: { exec: { command: ['check'] }, timeoutSeconds: 1 } })
  bench.runner.start()
  await bench.pass(50)
  const [, first] = bench.processes
  assert.deepEqual(first?.request.argv, ['check'])
  await bench.pass(1000)
  assert.deepEqual(first?.signals, ['SIGKILL'])
  assert.equal(bench.view.ready, false)
  await bench.pass(300)
  bench.process.end(0)
  await settled()
  assert.equal(bench.view.ready, true)
})

test('a container that crashes again and again waits longer each time', async () => {
  const bench = new Bench({})
  bench.runner.start()
  bench.process.end(1)
  await settled()
  assert.equal(bench.processes.length, 2)
  bench.process.end(1)
  await settled()
  assert.equal(bench.view.state.waiting?.reason, 'CrashLoopBackOff')
  await bench.pass(9900)
  assert.equal(bench.processes.length, 2)
  await bench.pass(100)
  assert.equal(bench.processes.length, 3)
  assert.equal(bench.view.restartCount, 2)
  bench.process.end(1)
  await settled()
  await bench.pass(19_900)
  assert.equal(bench.processes.length, 3)
  await bench.pass(100)
  assert.equal(bench.processes.length, 4)
})

for (const [policy, code, restarts] of [
  ['Always', 0, true],
  ['OnFailure', 0, false],
  ['OnFailure', 1, true],
  ['Never', 1, false],
] as const) {
  test(`restartPolicy ${policy} after exit status ${code}: ${restarts ? 'again' : 'done'}`, async () => {
    const bench = new Bench({}, { restartPolicy: policy })
    bench.runner.start()
    bench.process.end(code)
    await settled()
    assert.equal(bench.processes.length, restarts ? 2 : 1)
    assert.equal(bench.view.restarts, restarts)
  })
}

test('the end: preStop, SIGTERM, and SIGKILL only after the grace', async () => {
  const bench = new Bench({ lifecycle: { preStop: { sleep: { seconds: 2 } } } })
  bench.stubborn = true
  bench.runner.start()
  const { process } = bench
  let ended = false
  void bench.runner.stop(5000).then(() => {
    ended = true
  })
  await bench.pass(1900)
  assert.equal(process.signals.length, 0)
  await bench.pass(100)
  assert.deepEqual(process.signals, ['SIGTERM'])
  await bench.pass(2900)
  assert.deepEqual(process.signals, ['SIGTERM'])
  await bench.pass(200)
  assert.ok(process.signals.includes('SIGKILL'))
  assert.equal(ended, true)
  assert.equal(bench.processes.length, 1)
})

test('a container that obeys SIGTERM ends at once, and its group with it', async () => {
  const bench = new Bench({})
  bench.runner.start()
  await bench.runner.stop(30_000)
  assert.equal(bench.process.signals[0], 'SIGTERM')
  assert.ok(bench.process.signals.includes('SIGKILL'))
  await bench.pass(60_000)
  assert.equal(bench.processes.length, 1)
})

test('stopping during a back-off starts nothing any more', async () => {
  const bench = new Bench({})
  bench.runner.start()
  for (let i = 0; i < 2; i++) {
    bench.process.end(1)
    await settled()
  }
  await bench.runner.stop(1000)
  await bench.pass(30_000)
  assert.equal(bench.processes.length, 2)
})
