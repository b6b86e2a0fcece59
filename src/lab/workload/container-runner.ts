import type { Clock } from '../../ports/clock.ts'
import type { Log } from '../../ports/log.ts'
import { afterCheck, backOffSeconds, type Health, UNKNOWN } from './health.ts'
import { type Placement, podCommand } from './pod-command.ts'
import type { ContainerView } from './pod-status.ts'
import type { CheckResult, Prober } from './prober.ts'
import type { Exit, Processes, RunningProcess } from './processes.ts'
import { type Container, type ContainerState, type Pod, type ProbeSpec, timestamp } from './resources.ts'

export type ContainerContext = {
  readonly pod: Pod
  readonly placement: Placement
  /** Network namespace of the pod. */
  readonly namespace: string
  readonly processes: Processes
  readonly prober: Prober
  readonly clock: Clock
  readonly log: Log
  readonly logFile: string
  /** Something that `view()` shows has changed. */
  readonly onChange: () => void
}

type ProbeKind = 'startup' | 'readiness' | 'liveness'

/** After this long without a crash the next one is restarted at once again (as the kubelet). */
const BACK_OFF_RESET_MS = 600_000
/** Until it was ready once a container is asked more often than its period says: the lab shall come up quickly. */
const FIRST_READY_PERIOD_MS = 250
const START_RETRY_MS = 5000
/** A process that survives SIGKILL for so long (uninterruptible sleep) is not waited for any more. */
const KILL_WAIT_MS = 5000

/** One container: its process, restarted as the pod's policy says, and its probes. */
export class ContainerRunner {
  readonly #context: ContainerContext
  readonly #container: Container
  #state: ContainerState = { waiting: { reason: 'ContainerCreating' } }
  #lastState: ContainerState = {}
  #restartCount = 0
  #backOffs = 0
  #started = false
  #ready = false
  #restarts = true
  #process: RunningProcess | undefined
  #runningSince = 0
  #stopping: Promise<void> | undefined
  /** Timers of the back-off and of the probes; each entry cancels one. */
  readonly #timers = new Set<() => void>()

  constructor(context: ContainerContext, container: Container) {
    this.#context = context
    this.#container = container
  }

  view(): ContainerView {
    return {
      name: this.#container.name,
      image: this.#container.image ?? '',
      pid: this.#process?.pid,
      state: this.#state,
      lastState: this.#lastState,
      restartCount: this.#restartCount,
      started: this.#started,
      ready: this.#ready,
      restarts: this.#restarts && this.#stopping === undefined,
    }
  }

  start(): void {
    const { pod, placement, clock, log } = this.#context
    const command = podCommand(pod, this.#container, placement)
    if (command.type === 'refused') {
      this.#state = { waiting: { reason: command.reason, message: command.message } }
      this.#context.onChange()
      return
    }
    let process: RunningProcess
    try {
      process = this.#context.processes.start({
        namespace: this.#context.namespace,
        argv: command.argv,
        env: command.env,
        workingDirectory: command.workingDirectory,
        logFile: this.#context.logFile,
      })
    } catch (error) {
      // No process, no file descriptor or no disk left: that may pass.
      const message = error instanceof Error ? error.message : String(error)
      this.#state = { waiting: { reason: 'RunContainerError', message } }
      this.#after(START_RETRY_MS, () => this.start())
      this.#context.onChange()
      return
    }
    this.#process = process
    this.#runningSince = clock.now()
    const startedAt = timestamp(clock.wallNow())
    this.#state = { running: { startedAt } }
    log.debug('container-started', {
      pod: pod.metadata.name,
      container: this.#container.name,
      pid: process.pid,
    })
    void process.exited.then(exit => this.#ended(process, exit, startedAt))
    const { startupProbe } = this.#container
    if (startupProbe === undefined) this.#startedUp(process)
    else this.#probe(process, 'startup', startupProbe, UNKNOWN)
    this.#context.onChange()
  }

  /** SIGTERM (after the preStop hook), SIGKILL once the grace is over. Resolves when nothing of it runs. Once is enough. */
  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#stop(graceMs)
    return this.#stopping
  }

  /** SIGKILL now. */
  kill(): void {
    this.#process?.signal('SIGKILL')
  }

  async #stop(graceMs: number): Promise<void> {
    if (this.#state.running === undefined) {
      this.#cancelTimers()
      return
    }
    await this.#endProcess(this.#process, graceMs)
    this.#cancelTimers()
  }

  async #endProcess(process: RunningProcess | undefined, graceMs: number): Promise<void> {
    if (process === undefined) return
    const { clock } = this.#context
    const deadline = clock.now() + graceMs
    if (graceMs > 0) {
      await this.#preStop(process, graceMs)
      process.signal('SIGTERM')
      await this.#within(process.exited, deadline - clock.now())
    }
    // Also when it has ended by itself: its children may still be there.
    process.signal('SIGKILL')
    await this.#within(process.exited, KILL_WAIT_MS)
  }

  async #preStop(process: RunningProcess, graceMs: number): Promise<void> {
    const hook = this.#container.lifecycle?.preStop
    if (hook?.sleep !== undefined) {
      // The process may end meanwhile; then there is nothing to sleep for.
      await this.#within(process.exited, Math.min(graceMs, hook.sleep.seconds * 1000))
    } else if (hook?.exec?.command !== undefined) await this.#exec(hook.exec.command, graceMs)
  }

  #startedUp(process: RunningProcess): void {
    this.#started = true
    const { readinessProbe, livenessProbe } = this.#container
    if (readinessProbe === undefined) this.#ready = true
    else this.#probe(process, 'readiness', readinessProbe, UNKNOWN)
    if (livenessProbe !== undefined) this.#probe(process, 'liveness', livenessProbe, UNKNOWN)
  }

  #ended(process: RunningProcess, exit: Exit, startedAt: string): void {
    if (this.#process !== process) return
    const { clock, pod, log } = this.#context
    process.signal('SIGKILL')
    this.#process = undefined
    this.#cancelTimers()
    this.#started = false
    this.#ready = false
    const terminated: ContainerState = {
      terminated: {
        exitCode: exit.code,
        ...(exit.signal === undefined ? {} : { signal: exit.signal }),
        reason: exit.error !== undefined ? 'StartError' : exit.code === 0 ? 'Completed' : 'Error',
        ...(exit.error === undefined ? {} : { message: exit.error }),
        startedAt,
        finishedAt: timestamp(clock.wallNow()),
      },
    }
    this.#state = terminated
    log.debug('container-ended', { pod: pod.metadata.name, container: this.#container.name, code: exit.code })
    const policy = pod.spec.restartPolicy ?? 'Always'
    this.#restarts = policy === 'Always' || (policy === 'OnFailure' && exit.code !== 0)
    if (this.#restarts && this.#stopping === undefined) this.#restart(terminated)
    this.#context.onChange()
  }

  #restart(terminated: ContainerState): void {
    const { clock } = this.#context
    if (clock.now() - this.#runningSince >= BACK_OFF_RESET_MS) this.#backOffs = 0
    const seconds = backOffSeconds(this.#backOffs++)
    const again = (): void => {
      this.#lastState = terminated
      this.#restartCount++
      this.start()
    }
    if (seconds === 0) {
      again()
      return
    }
    this.#lastState = terminated
    this.#state = {
      waiting: {
        reason: 'CrashLoopBackOff',
        message: `back-off ${seconds}s restarting failed container=${this.#container.name} pod=${this.#context.pod.metadata.name}`,
      },
    }
    this.#after(seconds * 1000, again)
  }

  /** Checks again and again until the process ends. */
  #probe(process: RunningProcess, kind: ProbeKind, spec: ProbeSpec, health: Health): void {
    const periodMs = (spec.periodSeconds ?? 10) * 1000
    const first = health.run === 0 && health.healthy === undefined
    const delayMs = first
      ? (spec.initialDelaySeconds ?? 0) * 1000
      : kind !== 'liveness' && health.healthy !== true && !this.#ready
        ? Math.min(periodMs, kind === 'readiness' ? FIRST_READY_PERIOD_MS : periodMs)
        : periodMs
    this.#after(delayMs, () => {
      void this.#check(spec).then(result => {
        if (this.#process !== process) return
        const after = afterCheck(health, result.ok, spec)
        if (this.#judge(process, kind, after, result)) this.#probe(process, kind, spec, after)
      })
    })
  }

  /** Draws the consequence; false when this probe has done its work. */
  #judge(process: RunningProcess, kind: ProbeKind, health: Health, result: CheckResult): boolean {
    if (kind === 'readiness') {
      const ready = health.healthy === true
      if (ready !== this.#ready) {
        this.#ready = ready
        this.#context.onChange()
      }
      return true
    }
    if (health.healthy === false) {
      this.#context.log.info('container-unhealthy', {
        pod: this.#context.pod.metadata.name,
        container: this.#container.name,
        probe: kind,
        why: result.message,
      })
      void this.#endProcess(process, (this.#context.pod.spec.terminationGracePeriodSeconds ?? 30) * 1000)
      return false
    }
    if (kind === 'startup' && health.healthy === true) {
      this.#startedUp(process)
      this.#context.onChange()
      return false
    }
    return true
  }

  #check(spec: ProbeSpec): Promise<CheckResult> {
    const timeoutMs = (spec.timeoutSeconds ?? 1) * 1000
    const [podIp] = this.#context.placement.podIps
    if (spec.exec !== undefined) return this.#exec(spec.exec.command ?? [], timeoutMs)
    if (spec.httpGet !== undefined) {
      const { httpGet } = spec
      return this.#context.prober.check({
        type: 'http',
        host: httpGet.host ?? podIp ?? '',
        port: this.#port(httpGet.port),
        path: httpGet.path ?? '/',
        scheme: httpGet.scheme?.toLowerCase() === 'https' ? 'https' : 'http',
        headers: Object.fromEntries((httpGet.httpHeaders ?? []).map(({ name, value }) => [name, value])),
        timeoutMs,
      })
    }
    if (spec.tcpSocket !== undefined) {
      const { tcpSocket } = spec
      return this.#context.prober.check({
        type: 'tcp',
        host: tcpSocket.host ?? podIp ?? '',
        port: this.#port(tcpSocket.port),
        timeoutMs,
      })
    }
    return Promise.resolve({ ok: false, message: 'the lab knows httpGet, tcpSocket and exec probes only' })
  }

  #port(port: number | string): number {
    if (typeof port === 'number') return port
    return this.#container.ports?.find(({ name }) => name === port)?.containerPort ?? Number(port)
  }

  async #exec(argv: readonly string[], timeoutMs: number): Promise<CheckResult> {
    const command = podCommand(
      this.#context.pod,
      { ...this.#container, command: argv, args: [] },
      this.#context.placement,
    )
    if (command.type === 'refused') return { ok: false, message: command.message }
    const process = this.#context.processes.start({
      namespace: this.#context.namespace,
      argv: command.argv,
      env: command.env,
      workingDirectory: command.workingDirectory,
    })
    const exit = await this.#within(process.exited, timeoutMs)
    process.signal('SIGKILL')
    return exit === undefined
      ? { ok: false, message: `did not end within ${timeoutMs} ms` }
      : { ok: exit.code === 0, message: exit.error ?? `exit status ${exit.code}` }
  }

  /** undefined when it took longer. */
  async #within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
    let cancel: (() => void) | undefined
    const late = new Promise<undefined>(done => {
      cancel = this.#context.clock.after(ms, () => done(undefined))
    })
    try {
      return await Promise.race([promise, late])
    } finally {
      cancel?.()
    }
  }

  #after(delayMs: number, callback: () => void): void {
    const cancel = this.#context.clock.after(delayMs, () => {
      this.#timers.delete(cancel)
      callback()
    })
    this.#timers.add(cancel)
  }

  #cancelTimers(): void {
    for (const cancel of this.#timers) cancel()
    this.#timers.clear()
  }
}
