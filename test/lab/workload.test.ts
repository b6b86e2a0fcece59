import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Ip } from '../../src/addr/ip.ts'
import { type Prefix, parsePrefix } from '../../src/addr/prefix.ts'
import { outagesAfterMark } from '../../src/lab/probe/analysis.ts'
import { type SpawnProbe, startProbe } from '../../src/lab/probe/probe.ts'
import type { PodNetwork } from '../../src/lab/workload/network.ts'
import { nodeProber } from '../../src/lab/workload/prober.ts'
import { APPS, type Deployment, type EndpointSlice, type Pod } from '../../src/lab/workload/resources.ts'
import { startWorkload, type Workload } from '../../src/lab/workload/run.ts'
import type { Clock } from '../../src/ports/clock.ts'
import { type KubeObject, RESOURCES, type Resource } from '../../src/ports/kube.ts'
import { FakeKube } from '../../src/ports/kube-fake.ts'
import { FakeLog } from '../../src/ports/log.ts'

const WEB = fileURLToPath(new URL('../../src/lab/web/main.js', import.meta.url))
const here: SpawnProbe = ([command, ...args]) => spawn(command ?? '', args, { stdio: 'pipe' })

type Ports = { http: number; udp: number; stream: number }

/** A web program on free ports of the loopback; gone when the test ends. */
async function startWeb(
  t: TestContext,
  environment: Record<string, string> = {},
): Promise<{ child: ChildProcess; ports: Ports }> {
  const child = spawn(process.execPath, [WEB], {
    env: {
      ...process.env,
      POD_NAME: 'web-1',
      NODE_NAME: 'n1',
      WEB_PORT: '0',
      WEB_STREAM_PORT: '0',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  const line = await new Promise<string>((done, fail) => {
    child.stdout.setEncoding('utf8').once('data', done)
    child.once('exit', code => fail(new Error(`the web program ended with ${code}`)))
  })
  return { child, ports: JSON.parse(line) as Ports }
}

for (const target of ['127.0.0.1', '::1']) {
  test(`the probe sees one outage while the web program at ${target} is stopped`, async t => {
    const { child, ports } = await startWeb(t)
    const probe = startProbe(here, { target, port: ports.udp })
    t.after(() => probe.stop())
    await probe.answered
    await new Promise(done => setTimeout(done, 200))
    probe.mark('stop')
    child.kill('SIGSTOP')
    const stoppedAt = performance.now()
    await new Promise(done => setTimeout(done, 400))
    const stoppedForMs = performance.now() - stoppedAt
    probe.mark('continue')
    child.kill('SIGCONT')
    await new Promise(done => setTimeout(done, 300))
    const report = await probe.stop()

    const [outage] = outagesAfterMark(report, 'stop')
    assert.ok(outage !== undefined, JSON.stringify(report, undefined, 1))
    const [stop, go] = report.marks
    // The signal and the probe are two processes: a few milliseconds may lie between the mark and the deed.
    assert.ok(outage.fromMs > (stop?.atMs ?? Infinity) - 20, `${outage.fromMs} after ${stop?.atMs}`)
    assert.ok(outage.toMs > (go?.atMs ?? Infinity), `${outage.toMs} after ${go?.atMs}`)
    assert.ok(outage.durationMs > stoppedForMs - 100, `${outage.durationMs} of ${stoppedForMs}`)
    assert.deepEqual(outage.firstAnswerBy, { pod: 'web-1', node: 'n1', client: target })
    assert.equal(outage.lost + outage.late > 200, true)
    assert.equal(report.sent, report.answered + report.lost)
    assert.ok(report.timeline.some(entry => (entry.nodes['n1'] ?? 0) > 0))
  })
}

test('the probe over TCP tells a draining web program from a serving one', async t => {
  const { child, ports } = await startWeb(t, { WEB_DRAIN_MS: '1000' })
  const ended = new Promise<number | null>(done => child.once('exit', done))
  const probe = startProbe(here, { target: '127.0.0.1', port: ports.http, protocol: 'tcp' })
  t.after(() => probe.stop())
  await probe.answered
  await new Promise(done => setTimeout(done, 200))
  child.kill('SIGTERM')
  assert.equal(await ended, 0)
  const report = await probe.stop()
  assert.ok((report.errors['HTTP 503'] ?? 0) > 10, JSON.stringify(report.errors))
  assert.equal(report.outages.at(-1)?.firstAnswerBy, null)
})

test('the stream port echoes each line with who answers', async t => {
  const { ports } = await startWeb(t)
  const socket = connect(ports.stream, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.setEncoding('utf8')
  let text = ''
  const whole = new Promise<void>(done =>
    socket.on('data', (chunk: string) => {
      text += chunk
      if (text.split('\n').length === 3) done()
    }),
  )
  socket.write('one\ntw')
  socket.write('o\n')
  await whole
  assert.equal(text, 'one web-1 n1 127.0.0.1\ntwo web-1 n1 127.0.0.1\n')
})

test('a probe that cannot start says why', async () => {
  const probe = startProbe(here, { target: '127.0.0.1', port: 70000 })
  await assert.rejects(probe.started, /--port must be a number/)
  await assert.rejects(probe.stop(), /--port must be a number/)
})

const CLOCK: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, Math.max(0, delayMs))
    return () => clearTimeout(timer)
  },
}

/** With the one subresource that the scheduler needs. */
class BindingKube extends FakeKube {
  override create(resource: Resource, object: KubeObject): Promise<KubeObject> {
    if (resource.kind !== 'Binding') return super.create(resource, object)
    const { namespace = '', name } = object.metadata
    const pod = this.peek(RESOURCES.pods, { namespace, name })
    assert.ok(pod !== undefined)
    const nodeName = (object['target'] as { name: string }).name
    this.seed(RESOURCES.pods, { ...pod, spec: { ...(pod['spec'] as object), nodeName } })
    return Promise.resolve(object)
  }
}

/** Pods without namespaces: every address of 127.0.0.0/8 is this machine's, so that each pod can have its own. */
class LoopbackNetwork implements PodNetwork {
  readonly attached = new Map<string, readonly Ip[]>()

  attachPod({ podName, ips }: { podName: string; ips: readonly Ip[] }): Promise<{ namespace: string }> {
    this.attached.set(podName, ips)
    return Promise.resolve({ namespace: podName })
  }

  detachPod(podName: string): Promise<void> {
    this.attached.delete(podName)
    return Promise.resolve()
  }

  spawnIn: PodNetwork['spawnIn'] = (_, [command = '', ...args], options = {}) => spawn(command, args, options)
}

async function waitFor<T>(
  what: string,
  condition: () => T | undefined | false,
  withinMs = 20_000,
): Promise<T> {
  const deadline = performance.now() + withinMs
  for (;;) {
    const value = condition()
    if (value !== undefined && value !== false) return value
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`)
    await new Promise(done => setTimeout(done, 20))
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

type Lab = {
  kube: FakeKube
  network: LoopbackNetwork
  workload: Workload
  silent: Set<string>
  logDirectory: string
  pods: () => Pod[]
  endpoints: () => { address: string; conditions: EndpointSlice['endpoints'] }[]
}

async function startLab(t: TestContext): Promise<Lab> {
  const kube = new BindingKube({ clock: CLOCK })
  const network = new LoopbackNetwork()
  const log = new FakeLog()
  const logDirectory = mkdtempSync(join(tmpdir(), 'lodestone-workload-'))
  const silent = new Set<string>()
  const abort = new AbortController()
  const workload = await startWorkload(
    {
      kube,
      nodes: ['n1', 'n2', 'n3'].map((name, i) => ({
        name,
        ips: [`127.0.1.${i + 1}` as Ip],
        podCidrs: [parsePrefix(`127.0.${i + 2}.0/24`) as Prefix],
      })),
      network,
      clock: CLOCK,
      log,
      logDirectory,
      reachable: node => !silent.has(node),
      nodeGraceMs: 1500,
    },
    abort.signal,
  )
  t.after(async () => {
    await workload.stop()
    rmSync(logDirectory, { recursive: true, force: true })
  })
  return {
    kube,
    network,
    workload,
    silent,
    logDirectory,
    pods: () => kube.objects(RESOURCES.pods) as Pod[],
    endpoints: () =>
      (kube.objects(RESOURCES.endpointSlices) as EndpointSlice[]).flatMap(slice =>
        (slice.endpoints ?? []).map(endpoint => ({
          address: endpoint.addresses[0] ?? '',
          conditions: [endpoint],
        })),
      ),
  }
}

function webDeployment(fields: { replicas: number; environment?: string }): KubeObject {
  return {
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      replicas: fields.replicas,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' } },
        spec: {
          terminationGracePeriodSeconds: 5,
          containers: [
            {
              name: 'web',
              image: 'lodestone.dev/lab/web:1',
              env: [
                { name: 'WEB_HOST', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
                { name: 'WEB_DRAIN_MS', value: '300' },
                { name: 'COLOUR', value: fields.environment ?? 'green' },
              ],
              ports: [{ name: 'http', containerPort: 8080 }],
              readinessProbe: { httpGet: { path: '/', port: 'http' }, periodSeconds: 1 },
            },
          ],
        },
      },
    },
  }
}

const SERVICE: KubeObject = {
  metadata: { name: 'web', namespace: 'default' },
  spec: {
    selector: { app: 'web' },
    ipFamilies: ['IPv4'],
    clusterIP: '10.96.0.1',
    ports: [{ port: 80, targetPort: 'http', protocol: 'TCP' }],
  },
}

test('a Deployment becomes processes, endpoints follow, it rolls, scales and goes', async t => {
  const { kube, network, workload, pods, endpoints, logDirectory } = await startLab(t)
  const ready = () =>
    endpoints()
      .filter(({ conditions }) => conditions?.[0]?.conditions.ready)
      .map(({ address }) => address)
      .sort()
  const deployment = () =>
    kube.peek(APPS.deployments, { namespace: 'default', name: 'web' }) as Deployment | undefined
  await kube.create(RESOURCES.services, SERVICE)
  await kube.create(APPS.deployments, webDeployment({ replicas: 3 }))
  await waitFor('three ready endpoints', () => ready().length === 3)
  assert.deepEqual(new Set(pods().map(pod => pod.spec.nodeName)), new Set(['n1', 'n2', 'n3']))
  const [address = ''] = ready()
  const answer = (await (await fetch(`http://${address}:8080/x`)).json()) as Record<string, unknown>
  assert.equal(answer['path'], '/x')
  const served = pods().find(pod => pod.metadata.name === answer['pod'])
  assert.equal(served?.status?.podIP, address)
  assert.equal(served?.spec.nodeName, answer['node'])
  await waitFor('the status is complete', () => deployment()?.status?.availableReplicas === 3)
  const log = readFileSync(join(logDirectory, `default_${served?.metadata.name}_web.log`), 'utf8')
  assert.match(log, /listening/)

  // A process that dies is replaced in the same pod.
  const [pid = 0] = workload.processIds(served?.spec.nodeName ?? '')
  process.kill(pid, 'SIGKILL')
  await waitFor('a restart', () =>
    pods().some(
      pod => pod.status?.containerStatuses?.[0]?.restartCount === 1 && pod.status.containerStatuses[0].ready,
    ),
  )
  await waitFor('three ready endpoints again', () => ready().length === 3)

  // A new template replaces the pods without ever having fewer than three ready ones.
  const before = new Set(pods().map(pod => pod.metadata.name))
  let fewest = 3
  kube.onCommit(({ resource }) => {
    if (resource.plural === 'endpointslices') fewest = Math.min(fewest, ready().length)
  })
  await kube.patch(
    APPS.deployments,
    { namespace: 'default', name: 'web' },
    {
      spec: {
        template: (webDeployment({ replicas: 3, environment: 'blue' })['spec'] as { template: unknown })
          .template,
      },
    },
    { type: 'merge' },
  )
  await waitFor(
    'new pods only',
    () => pods().length === 3 && pods().every(pod => !before.has(pod.metadata.name)),
  )
  await waitFor('all updated', () => deployment()?.status?.updatedReplicas === 3 && ready().length === 3)
  assert.equal(fewest, 3)

  await kube.patch(
    APPS.deployments,
    { namespace: 'default', name: 'web' },
    { spec: { replicas: 1 } },
    { type: 'merge' },
  )
  await waitFor('one pod', () => pods().length === 1 && ready().length === 1)
  await waitFor('one network', () => network.attached.size === 1)

  await kube.delete(APPS.deployments, { namespace: 'default', name: 'web' })
  await waitFor('no pod and no endpoint', () => pods().length === 0 && endpoints().length === 0)
  assert.equal(network.attached.size, 0)
  assert.deepEqual(
    ['n1', 'n2', 'n3'].flatMap(node => workload.processIds(node)),
    [],
  )
})

test('a silent node loses its endpoints after the grace and gets them back', async t => {
  const { kube, silent, endpoints, workload } = await startLab(t)
  const readyOn = (node: string) =>
    endpoints().some(({ conditions }) => conditions?.[0]?.nodeName === node && conditions[0].conditions.ready)
  await kube.create(RESOURCES.services, SERVICE)
  await kube.create(APPS.deployments, webDeployment({ replicas: 3 }))
  await waitFor('an endpoint on each node', () => ['n1', 'n2', 'n3'].every(readyOn))
  const pids = workload.processIds('n2')
  silent.add('n2')
  await waitFor('no ready endpoint on n2', () => !readyOn('n2'))
  assert.ok(readyOn('n1') && readyOn('n3'))
  assert.ok(pids.every(alive))
  silent.delete('n2')
  await waitFor('the endpoint is back', () => readyOn('n2'))
  assert.deepEqual(workload.processIds('n2'), pids)
})

test('stopping ends every process, also those that ignore SIGTERM', async t => {
  const { kube, workload, network } = await startLab(t)
  await kube.create(RESOURCES.pods, {
    metadata: { name: 'stubborn', namespace: 'default' },
    spec: {
      containers: [
        {
          name: 'main',
          image: 'any',
          command: ['sh', '-c', "trap '' TERM; sleep 1000 & echo child $!; while :; do sleep 1000; done"],
        },
      ],
    },
  })
  await waitFor('the pod runs', () => {
    const pod = kube.peek(RESOURCES.pods, { namespace: 'default', name: 'stubborn' }) as Pod | undefined
    return pod?.status?.phase === 'Running'
  })
  const pids = ['n1', 'n2', 'n3'].flatMap(node => workload.processIds(node))
  assert.equal(pids.length, 1)
  await workload.stop()
  await waitFor('its process group is gone', () => pids.every(pid => !alive(-pid)))
  assert.equal(network.attached.size, 0)
})

test('an image that nobody can run says so', async t => {
  const { kube } = await startLab(t)
  await kube.create(RESOURCES.pods, {
    metadata: { name: 'stranger', namespace: 'default' },
    spec: { containers: [{ name: 'main', image: 'nginx:1' }] },
  })
  const waiting = await waitFor('a waiting state', () => {
    const pod = kube.peek(RESOURCES.pods, { namespace: 'default', name: 'stranger' }) as Pod | undefined
    const state = pod?.status?.containerStatuses?.[0]?.state.waiting
    return state?.reason === 'ErrImagePull' ? state : undefined
  })
  assert.match(waiting.message ?? '', /nginx:1/)
  await kube.delete(RESOURCES.pods, { namespace: 'default', name: 'stranger' })
  await waitFor('it is gone', () => kube.objects(RESOURCES.pods).length === 0)
})

test('health checks over the network tell good from bad', async t => {
  const { child, ports } = await startWeb(t)
  const prober = nodeProber(new LoopbackNetwork(), 'n1')
  t.after(() => prober.close())
  const check = (type: 'http' | 'tcp', port: number) =>
    prober.check({ type, host: '127.0.0.1', port, timeoutMs: 5000 })
  assert.deepEqual(await check('tcp', ports.stream), { ok: true, message: 'connected' })
  assert.deepEqual(await check('http', ports.http), { ok: true, message: 'HTTP 200' })
  child.kill('SIGTERM')
  await new Promise(done => child.stdout?.once('data', done))
  assert.deepEqual(await check('http', ports.http), { ok: false, message: 'HTTP 503' })
  child.kill('SIGKILL')
  await new Promise(done => child.once('exit', done))
  assert.equal((await check('tcp', ports.stream)).ok, false)
  assert.equal((await check('http', ports.http)).ok, false)
})
