import type { PoolSpec, ServiceOptions } from '../allocator/fixtures.ts'
import { poolObjects, serviceObject } from '../allocator/fixtures.ts'
import { FakeClock } from '../ports/clock.ts'
import { FakeEventSink } from '../ports/events.ts'
import { RESOURCES } from '../ports/kube.ts'
import { FakeKube } from '../ports/kube-fake.ts'
import { FakeLog } from '../ports/log.ts'
import { FakeMetrics } from '../ports/metrics.ts'
import { SeededRandom } from '../ports/random.ts'
import { runController } from './controller.ts'
import type { ControllerFlags } from './controller-options.ts'
import { conditionOf, conditionsFrom, type WantedCondition } from './service-conditions.ts'

/** Where the tests' metallb.io resources are. */
export const NAMESPACE = 'metallb-system'

/** For tests: a cluster in memory, with controllers that can be started, stopped and started again. */
export class Cluster {
  readonly clock = new FakeClock()
  readonly kube = new FakeKube({ clock: this.clock })
  readonly log = new FakeLog()
  readonly events = new FakeEventSink()
  readonly metrics = new FakeMetrics()
  readonly #running: { readonly stop: AbortController; readonly ended: Promise<void> }[] = []

  constructor(pools: Readonly<Record<string, PoolSpec>>) {
    for (const object of poolObjects(pools)) this.kube.seed(RESOURCES.ipAddressPools, object)
    this.kube.seed(RESOURCES.namespaces, { metadata: { name: 'default' } })
    this.kube.seed(RESOURCES.nodes, { metadata: { name: 'node-a' } })
  }

  /** Another one each time. `kube`: how this one reaches the API server. */
  async start(flags: Partial<ControllerFlags> = {}, kube = this.kube as ControllerKube): Promise<this> {
    const { clock, log, events, metrics } = this
    const stop = new AbortController()
    const ended = runController(
      { kube, clock, log, events, metrics, random: new SeededRandom(1 + this.#running.length) },
      { namespace: NAMESPACE, loadBalancerClass: '', memberlistSecretName: '', ...flags },
      stop.signal,
    )
    this.#running.push({ stop, ended })
    await this.settle()
    return this
  }

  /** Lets everything happen that happens within `ms`. */
  async settle(ms = 20): Promise<void> {
    for (let step = 0; step < 4; step++) {
      await this.kube.settle()
      this.clock.advance(ms / 4)
    }
    await this.kube.settle()
  }

  /** The one that was started last. */
  async stop(): Promise<void> {
    const last = this.#running.pop()
    last?.stop.abort()
    await last?.ended
  }

  /** The one that was started first. */
  async stopFirst(): Promise<void> {
    const first = this.#running.shift()
    first?.stop.abort()
    await first?.ended
  }

  /** Also those that wait for what is cut off. */
  async stopAll(): Promise<void> {
    for (const { stop } of this.#running) stop.abort()
    for (const { ended } of this.#running.splice(0)) {
      const over = new AbortController()
      void ended.finally(() => over.abort())
      for (let step = 0; step < 100 && !over.signal.aborted; step++) await this.settle(500)
      await ended
    }
  }

  /** In steps, for what arms timers on the way. */
  async pass(ms: number, stepMs = 100): Promise<void> {
    for (let gone = 0; gone < ms; gone += stepMs) await this.settle(stepMs)
  }

  seed(name: string, options: ServiceOptions = {}): void {
    this.kube.seed(RESOURCES.services, serviceObject(name, options))
  }

  ips(name: string): string[] {
    const object = this.kube.peek(RESOURCES.services, { namespace: 'default', name })
    const status = object?.['status'] as { loadBalancer?: { ingress?: { ip: string }[] | null } } | undefined
    return (status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip)
  }

  pool(name: string): string | undefined {
    const object = this.kube.peek(RESOURCES.services, { namespace: 'default', name })
    return object?.metadata.annotations?.['metallb.io/ip-allocated-from-pool']
  }

  /** `True Allocated`, say. */
  condition(name: string, type: WantedCondition['type']): string | undefined {
    const object = this.kube.peek(RESOURCES.services, { namespace: 'default', name })
    const condition = conditionOf(conditionsFrom(object?.['status']), type)
    return condition && `${String(condition['status'])} ${String(condition['reason'])}`
  }

  reasons(name: string): string[] {
    return this.events.events.filter(({ about }) => about.name === name).map(({ reason }) => reason)
  }

  get serviceWrites(): number {
    return this.kube.writes.filter(({ resource }) => resource.plural === 'services').length
  }
}

type ControllerKube = Parameters<typeof runController>[0]['kube']
