import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import type { LabStatus } from '../../src/api/lab.ts'
import { createKube, type KubeClient } from '../../src/kube/client.ts'
import { loadKubeConfig } from '../../src/kube/config.ts'
import { type Lab, type LabOptions, startLab } from '../../src/lab/lab.ts'
import { type ProbeOptions, type RunningProbe, startProbe } from '../../src/lab/probe/probe.ts'
import { APPS } from '../../src/lab/workload/resources.ts'
import { KubeError, type KubeObject, RESOURCES } from '../../src/ports/kube.ts'
import { FakeLog } from '../../src/ports/log.ts'
import { SystemClock } from '../../src/sys/clock.ts'
import { systemRandom } from '../../src/sys/random.ts'

export const NAMESPACE = 'metallb-system'

/** The program of the same build as these tests. */
export function program(command: string): string[] {
  const main = new URL('../../src/cli/main.js', import.meta.url).href
  // Started with -e, the arguments follow the program at once: main() expects a name between them.
  const script = `import(${JSON.stringify(main)}).then(it => it.main([process.argv[0], 'lodestone', ...process.argv.slice(1)]))`
  return [process.execPath, '-e', script, '--', command]
}

/** A lab with a pool, an advertisement for it and a way to the API server. */
export class Stage {
  readonly lab: Lab
  readonly kube: KubeClient

  private constructor(lab: Lab, kube: KubeClient) {
    this.lab = lab
    this.kube = kube
  }

  static async start(name: string, options: LabOptions): Promise<Stage> {
    // Nodes that come back need not prove themselves for long.
    const speaker = [...program('speaker'), '--return-after', '1s']
    const commands = { speaker, controller: program('controller') }
    const lab = await startLab({ name: `${name}-${process.pid}`, commands, ...options })
    const clock = new SystemClock()
    const kube = createKube({
      config: await loadKubeConfig({ clock, kubeconfig: lab.kubeconfigPath }),
      clock,
      random: systemRandom,
      log: new FakeLog(),
      userAgent: 'lodestone-test',
    })
    const stage = new Stage(lab, kube)
    await stage.pool('lan', ['192.0.2.100-192.0.2.199', '2001:db8:0:1::100-2001:db8:0:1::1ff'])
    await kube.create(RESOURCES.l2Advertisements, {
      metadata: { namespace: NAMESPACE, name: 'all' },
      spec: {},
    })
    return stage
  }

  async end(): Promise<void> {
    this.kube.close()
    await this.lab.down()
  }

  async pool(name: string, addresses: readonly string[]): Promise<void> {
    await this.kube.create(RESOURCES.ipAddressPools, {
      metadata: { namespace: NAMESPACE, name },
      spec: { addresses },
    })
  }

  /** Pods that say who answers: HTTP and UDP echo on port 8080. */
  async deploy(name: string, replicas: number): Promise<void> {
    const container = {
      name: 'web',
      image: 'lodestone.dev/lab/web',
      ports: [{ containerPort: 8080 }],
      readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
    }
    await this.kube.create(APPS.deployments, {
      metadata: { namespace: 'default', name },
      spec: {
        replicas,
        selector: { matchLabels: { app: name } },
        template: { metadata: { labels: { app: name } }, spec: { containers: [container] } },
      },
    })
    await waitFor(`${replicas} pods of ${name}`, async () => {
      const { pods } = await this.lab.status()
      return pods.filter(pod => pod.name.startsWith(name) && pod.ready).length === replicas
    })
  }

  async service(name: string, app: string, spec: Record<string, unknown> = {}): Promise<void> {
    await this.kube.create(RESOURCES.services, {
      metadata: { namespace: 'default', name },
      spec: {
        type: 'LoadBalancer',
        selector: { app },
        ports: [
          { name: 'http', protocol: 'TCP', port: 80, targetPort: 8080 },
          { name: 'echo', protocol: 'UDP', port: 80, targetPort: 8080 },
        ],
        ...spec,
      },
    })
  }

  async addresses(name: string): Promise<string[]> {
    const object = await this.kube.get(RESOURCES.services, { namespace: 'default', name })
    return addressesOf(object)
  }

  /** Waits until the Service has `count` addresses, and one node says that it announces it. */
  async announced(
    name: string,
    count = 1,
  ): Promise<{ readonly ips: readonly string[]; readonly owner: string }> {
    let found: { ips: readonly string[]; owner: string } | undefined
    await waitFor(`${name} to be announced`, async () => {
      const service = (await this.lab.status()).services.find(each => each.name === name)
      const [owner, ...more] = service?.owners ?? []
      if (service?.externalIps.length !== count || owner === undefined || more.length > 0) return false
      found = { ips: service.externalIps, owner }
      return true
    })
    assert.ok(found !== undefined)
    return found
  }

  probe(host: string, options: ProbeOptions): RunningProbe {
    return startProbe(argv => this.lab.spawn(host, argv, { stdio: 'pipe' }), options)
  }

  /** Sends one HTTP request for each of `count` connections; which pods answered, and which client addresses they saw. */
  async fetch(
    host: string,
    ip: string,
    count = 1,
  ): Promise<{
    readonly pods: ReadonlySet<string>
    readonly clients: ReadonlySet<string>
    readonly failed: number
  }> {
    const url = `http://${ip.includes(':') ? `[${ip}]` : ip}/`
    const script = `
      const results = []
      for (let i = 0; i < ${count}; i++) {
        try {
          const answer = await fetch(${JSON.stringify(url)}, { headers: { connection: 'close' }, signal: AbortSignal.timeout(1000) })
          results.push(await answer.json())
        } catch { results.push(null) }
      }
      console.log(JSON.stringify(results))`
    const output = await this.lab.exec(host, [process.execPath, '--input-type=module', '-e', script])
    assert.equal(output.code, 0, output.stderr)
    const answers = JSON.parse(output.stdout) as ({ pod: string; client: string } | null)[]
    return {
      pods: new Set(answers.flatMap(answer => (answer === null ? [] : [answer.pod]))),
      clients: new Set(answers.flatMap(answer => (answer === null ? [] : [answer.client]))),
      failed: answers.filter(answer => answer === null).length,
    }
  }

  /** The service proxies of the nodes hear of a change somewhat later than the speakers: waits until no request fails. */
  async reachable(host: string, ip: string): Promise<void> {
    await waitFor(`${host} to reach ${ip}`, async () => (await this.fetch(host, ip, 10)).failed === 0)
  }

  /** The speakers' and the controller's process ids: equal lists mean that none of them ended. */
  async pids(): Promise<string> {
    const status = await this.lab.status()
    return JSON.stringify([status.controller?.pid, ...status.nodes.map(node => node.speaker?.pid)])
  }

  /** MAC of each node's interface, by name of the node. */
  async macs(): Promise<Map<string, string>> {
    const macs = new Map<string, string>()
    for (const { name } of (await this.lab.status()).nodes) {
      const { stdout } = await this.lab.exec(name, ['ip', '-o', 'link', 'show', 'eth0'])
      macs.set(name, /link\/ether (\S+)/.exec(stdout)?.[1] ?? '')
    }
    return macs
  }

  /** What a speaker says of itself. */
  async speaker(node: string, path = '/status'): Promise<string> {
    const script = `fetch('http://127.0.0.1:17472${path}').then(it => it.text()).then(it => process.stdout.write(it))`
    return (await this.lab.exec(node, [process.execPath, '-e', script])).stdout
  }

  /** The sum of one metric of a speaker. */
  async metric(node: string, pattern: RegExp): Promise<number> {
    const text = await this.speaker(node, '/metrics')
    return text
      .split('\n')
      .filter(line => pattern.test(line))
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }

  /** Runs hostile-sender.ts on a host; its answer is one JSON value. */
  async send<T = unknown>(host: string, task: Record<string, unknown>): Promise<T> {
    const file = fileURLToPath(new URL('./hostile-sender.js', import.meta.url))
    const output = await this.lab.exec(host, [process.execPath, file, JSON.stringify(task)])
    assert.equal(output.code, 0, output.stderr)
    return JSON.parse(output.stdout) as T
  }
}

export function addressesOf(object: KubeObject | undefined): string[] {
  const status = object?.['status'] as { loadBalancer?: { ingress?: { ip: string }[] } } | undefined
  return (status?.loadBalancer?.ingress ?? []).map(entry => entry.ip)
}

/** The time only bounds the waiting: a machine may be slow. */
export async function waitFor(
  what: string,
  condition: () => Promise<boolean> | boolean,
  withinMs = 60_000,
): Promise<void> {
  const end = performance.now() + withinMs
  for (;;) {
    try {
      if (await condition()) return
    } catch (error) {
      if (!(error instanceof KubeError) || !error.transient) throw error
    }
    assert.ok(performance.now() < end, `waited in vain for ${what}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

/** For a fault to last, or for something not to happen meanwhile. */
export function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}

export function ownersOf(status: LabStatus, service: string): readonly string[] {
  return status.services.find(each => each.name === service)?.owners ?? []
}
