// The real controller as real processes against the lab's API server: killed at writes, and two at a time.
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createKube, type KubeClient } from '../../src/kube/client.ts'
import { loadKubeConfig } from '../../src/kube/config.ts'
import { type Lab, startLab } from '../../src/lab/lab.ts'
import { searchPath } from '../../src/lab/preflight.ts'
import { labPaths } from '../../src/lab/state.ts'
import { type KubeObject, RESOURCES } from '../../src/ports/kube.ts'
import { FakeLog } from '../../src/ports/log.ts'
import { type Random, SeededRandom } from '../../src/ports/random.ts'
import { SystemClock } from '../../src/sys/clock.ts'

process.env['PATH'] = searchPath()

const PROGRAM = fileURLToPath(new URL('../../../bin/lodestone.js', import.meta.url))
const { services: SERVICES, leases: LEASES } = RESOURCES
const clock = new SystemClock()

const labs: Lab[] = []
after(async () => {
  for (const lab of labs) await lab.down()
})

/** A lab whose own controller is a process that does nothing, so that the test runs the only ones. */
class Rig {
  readonly lab: Lab
  readonly kube: KubeClient
  /** What is wrong with what was seen on the way: an address twice, or one that changed. */
  readonly wrong: string[] = []
  /** Writes of addresses, by whoever. */
  writes = 0
  readonly #stop = new AbortController()
  readonly #running = new Set<ChildProcess>()
  readonly #held = new Map<string, string>()

  constructor(lab: Lab, kube: KubeClient) {
    this.lab = lab
    this.kube = kube
  }

  static async start(name: string): Promise<Rig> {
    const idle = `console.log(JSON.stringify({ event: 'controller-ready' })); setInterval(() => {}, 60000)`
    const lab = await startLab({
      name: `${name}-${process.pid}`,
      nodes: 1,
      readyWithinMs: 30_000,
      commands: {
        speaker: [process.execPath, PROGRAM, 'speaker'],
        controller: [process.execPath, '-e', idle, '--'],
      },
    })
    labs.push(lab)
    const kube = createKube({
      config: await loadKubeConfig({ clock, kubeconfig: lab.kubeconfigPath }),
      clock,
      random: new SeededRandom(1),
      log: new FakeLog(),
      userAgent: 'test',
    })
    const rig = new Rig(lab, kube)
    await rig.#begin()
    return rig
  }

  async #begin(): Promise<void> {
    await this.kube.create(RESOURCES.ipAddressPools, {
      apiVersion: 'metallb.io/v1beta1',
      kind: 'IPAddressPool',
      metadata: { name: 'lan', namespace: 'metallb-system' },
      spec: { addresses: ['198.51.100.0/24'] },
    })
    const informer = this.kube.informer(SERVICES, { convert: ipsOf })
    informer.onChange(({ key, after: ips }) => this.#saw(key, ips?.join(',')))
    await informer.start(this.#stop.signal)
  }

  #saw(key: string, ips: string | undefined): void {
    const before = this.#held.get(key)
    if (ips === undefined) {
      this.#held.delete(key)
      return
    }
    if (ips === before || (ips === '' && before === undefined)) return
    if (before !== undefined) this.wrong.push(`${key} had ${before} and has "${ips}"`)
    const other = [...this.#held].find(([, held]) => held === ips)
    if (other !== undefined) this.wrong.push(`${key} and ${other[0]} have ${ips}`)
    this.#held.set(key, ips)
    this.writes++
  }

  /** How many Services hold an address. */
  get held(): number {
    return this.#held.size
  }

  controller(pod: string, ...flags: readonly string[]): ChildProcess {
    const child = this.lab.spawn(
      'control',
      [
        process.execPath,
        PROGRAM,
        'controller',
        '--kubeconfig',
        join(labPaths(this.lab.name).data, 'controller.kubeconfig'),
        '--webhook-mode',
        'disabled',
        '--health-probe-port',
        '0',
        '--pod-name',
        pod,
        ...flags,
      ],
      { detached: true, stdio: 'ignore' },
    )
    this.#running.add(child)
    child.on('exit', () => this.#running.delete(child))
    return child
  }

  /** True when it is sure to get an address: it asks for none that another one may hold. */
  async create(name: string, random: Random, plain = false): Promise<boolean> {
    const wanted = plain ? 1 : random.next()
    const service: KubeObject = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: {
        name,
        namespace: 'default',
        annotations:
          wanted < 0.2
            ? { 'metallb.io/address-pool': 'lan' }
            : wanted < 0.3
              ? { 'metallb.io/loadBalancerIPs': `198.51.100.${Math.floor(random.next() * 250)}` }
              : {},
      },
      spec: {
        type: 'LoadBalancer',
        allocateLoadBalancerNodePorts: false,
        externalTrafficPolicy: random.next() < 0.3 ? 'Local' : 'Cluster',
        ports: [{ port: 80 }],
      },
    }
    await this.kube.create(SERVICES, service)
    return wanted < 0.2 || wanted >= 0.3
  }

  async holder(): Promise<string> {
    const lease = await this.kube.get(LEASES, { namespace: 'metallb-system', name: 'lodestone-controller' })
    return (lease?.['spec'] as { holderIdentity?: string } | undefined)?.holderIdentity ?? ''
  }

  async end(): Promise<void> {
    for (const child of this.#running) kill(child)
    this.#stop.abort()
    this.kube.close()
    await this.lab.down()
  }
}

function ipsOf(object: KubeObject): readonly string[] {
  const status = object['status'] as { loadBalancer?: { ingress?: { ip?: string }[] } } | undefined
  return (status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip ?? '?')
}

function kill(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  process.kill(-child.pid, signal)
}

function exited(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise(resolve => child.once('exit', () => resolve()))
}

async function waitFor(what: string, condition: () => boolean | Promise<boolean>, withinMs = 20_000) {
  const deadline = performance.now() + withinMs
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, `${what}: not within ${withinMs} ms`)
    await new Promise(resolve => setTimeout(resolve, 1))
  }
}

test('R-2 a controller killed at its writes, again and again: no address lost, none twice', async t => {
  const rig = await Rig.start('crash')
  try {
    const random = new SeededRandom(42)
    const total = 200
    let created = 0
    let rounds = 0
    while (created < total) {
      const batch = Math.min(total - created, 1 + Math.floor(random.next() * 8))
      let sure = 0
      for (let i = 0; i < batch; i++) if (await rig.create(`s${created++}`, random, i === 0)) sure++
      const fatal = rig.writes + 1 + Math.floor(random.next() * Math.min(sure, 4))
      // The Pod's name is the same after each restart, as a kubelet's container has it: the Lease is still ours.
      const child = rig.controller('controller-0')
      await waitFor('the write to be killed at', () => rig.writes >= fatal)
      kill(child)
      await exited(child)
      rounds++
    }
    const last = rig.controller('controller-0')
    await waitFor('an address for every Service that can have one', async () => {
      const waiting = (await rig.kube.list(SERVICES)).filter(
        object => object.metadata.name !== 'kubernetes' && ipsOf(object).length === 0,
      )
      // One that asks for an address that is taken waits, and says so.
      return waiting.every(
        ({ metadata }) => metadata.annotations?.['metallb.io/loadBalancerIPs'] !== undefined,
      )
    })
    assert.deepEqual(rig.wrong, [])
    assert.ok(rig.held >= 180, `${rig.held} of ${total} hold an address`)
    t.diagnostic(`${rounds} kills while ${rig.held} addresses were given`)
    kill(last)
  } finally {
    await rig.end()
  }
})

test('two controllers: one acts; killed or stopped, the other one goes on, and no address is given twice', async () => {
  const rig = await Rig.start('race')
  try {
    const random = new SeededRandom(7)
    const flags = ['--lease-duration', '2']
    const pods = new Map(['controller-a', 'controller-b'].map(pod => [pod, rig.controller(pod, ...flags)]))
    let created = 0
    for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL'] as const) {
      for (let i = 0; i < 20; i++) await rig.create(`s${created++}`, random)
      let leader = ''
      await waitFor('a leader', async () => {
        leader = await rig.holder()
        return pods.has(leader)
      })
      const { writes } = rig
      await waitFor('writes', () => rig.writes > writes || rig.held >= created - 4)
      const child = pods.get(leader) as ChildProcess
      kill(child, signal)
      await exited(child)
      for (let i = 0; i < 10; i++) await rig.create(`s${created++}`, random)
      await waitFor('the other one to lead', async () => {
        const holder = await rig.holder()
        return holder !== leader && pods.has(holder)
      })
      await waitFor('the other one to go on', () => rig.held >= created - 6)
      pods.set(leader, rig.controller(leader, ...flags))
    }
    assert.deepEqual(rig.wrong, [])
  } finally {
    await rig.end()
  }
})
