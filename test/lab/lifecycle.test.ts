import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createKube } from '../../src/kube/client.ts'
import { loadKubeConfig } from '../../src/kube/config.ts'
import type { LabError } from '../../src/lab/error.ts'
import type { LabOptions } from '../../src/lab/lab.ts'
import { downLab, openLab, startLab } from '../../src/lab/lab.ts'
import { searchPath } from '../../src/lab/preflight.ts'
import type { LabState } from '../../src/lab/state.ts'
import { identify, isAlive, labPaths, readState } from '../../src/lab/state.ts'
import { RESOURCES } from '../../src/ports/kube.ts'
import { FakeLog } from '../../src/ports/log.ts'
import { SystemClock } from '../../src/sys/clock.ts'
import { systemRandom } from '../../src/sys/random.ts'

const distFolder = fileURLToPath(new URL('../../', import.meta.url))
const root = fileURLToPath(new URL('../../../', import.meta.url))
process.env['PATH'] = searchPath()

const used: string[] = []
function newName(what: string): string {
  const name = `${what}-${process.pid}`
  used.push(name)
  return name
}
after(async () => {
  for (const name of used) await downLab(name)
})

/** What a lab could leave behind on this host. */
function traces(name: string) {
  return {
    links: execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' }).match(/^\d+: \S+/gm),
    namespaces: execFileSync('ip', ['netns'], { encoding: 'utf8' }),
    namedNamespaces: existsSync('/run/netns') ? readdirSync('/run/netns') : 'no folder',
    mounts: readFileSync('/proc/self/mounts', 'utf8'),
    processes: processesOf(name),
    files: existsSync(labPaths(name).folder),
  }
}

/** Processes whose command line speaks of this lab. */
function processesOf(name: string): number[] {
  return readdirSync('/proc')
    .filter(entry => /^\d+$/.test(entry) && Number(entry) !== process.pid)
    .filter(pid => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
        return (
          (line.includes(`"name":"${name}"`) || line.includes(`/${name}/`)) &&
          identify(Number(pid)) !== undefined
        )
      } catch {
        return false // It ended meanwhile.
      }
    })
    .map(Number)
}

async function waitFor(
  what: string,
  condition: () => boolean | Promise<boolean>,
  withinMs = 15_000,
): Promise<void> {
  const deadline = performance.now() + withinMs
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, `${what}: not within ${withinMs} ms`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

function bare(name: string, more: LabOptions = {}): LabOptions {
  return { name, bare: true, nodes: 2, clients: 1, ...more }
}

function stateOf(name: string): LabState {
  const state = readState(labPaths(name))
  assert.ok(state !== undefined)
  return state
}

/** A process of its own that brings a lab up, says `up` when it is, and stays. */
function upElsewhere(options: LabOptions): ChildProcess {
  const url = new URL('../../src/lab/lab.js', import.meta.url).href
  const script = `
    const { startLab } = await import(${JSON.stringify(url)})
    await startLab({ ...${JSON.stringify(options)}, onProgress: text => console.log(text) })
    console.log('up')
    setInterval(() => {}, 1000)
  `
  return spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

function says(child: ChildProcess, what: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let heard = ''
    child.stdout?.on('data', (bytes: Uint8Array) => {
      heard += Buffer.from(bytes).toString()
      if (what.test(heard)) resolve()
    })
    child.on('exit', () => reject(new Error(`ended after it said: ${heard}`)))
  })
}

test('up and down leaves nothing behind', async () => {
  const name = newName('plain')
  const before = traces(name)
  const lab = await startLab(bare(name))
  assert.ok(processesOf(name).length >= 2)
  await lab.down()
  assert.deepEqual(traces(name), before)
  assert.equal(before.files, false)
  // Twice is no error.
  await lab.down()
  assert.equal(await downLab(name), false)
})

test('a second lab of the same name is refused, one of another name runs beside it', async () => {
  const [one, two] = [newName('one'), newName('two')]
  const first = await startLab(bare(one))
  await assert.rejects(startLab(bare(one)), { code: 'already-running', message: /lab down --name one-/ })
  const second = await startLab(bare(two, { nodes: 1 }))
  assert.equal((await first.status()).nodes.length, 2)
  assert.equal((await second.status()).nodes.length, 1)
  await first.kill('node1', 'link')
  assert.deepEqual(
    (await second.status()).nodes.map(node => node.link),
    ['up'],
  )
  await first.down()
  assert.equal((await second.exec('node1', ['true'])).code, 0)
  await second.down()
})

for (const signal of ['SIGINT', 'SIGKILL'] as const) {
  test(`${signal} for the caller while the lab comes up leaves nothing behind`, async () => {
    const name = newName(signal.toLowerCase())
    const before = traces(name)
    const child = upElsewhere(bare(name))
    await says(child, /network:/)
    child.kill(signal)
    await waitFor('all is gone', () => !existsSync(labPaths(name).folder) && processesOf(name).length === 0)
    assert.deepEqual(traces(name), before)
  })
}

test('Ctrl-C during `lab up` is told in one line, and leaves nothing behind', async () => {
  const name = newName('ctrl-c')
  const before = traces(name)
  const url = new URL('../../src/cli/lab.js', import.meta.url).href
  const script = `
    const { labCommand } = await import(${JSON.stringify(url)})
    await labCommand().parseAsync(['up', '--name', ${JSON.stringify(name)}], { from: 'user' })
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'inherit', 'pipe'],
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
    if (text.includes('network:')) child.kill('SIGINT')
  })
  const code = await new Promise(resolve => child.on('close', resolve))
  assert.equal(code, 130)
  assert.match(said, /^lodestone lab: interrupted, nothing is left behind\n$/m)
  assert.deepEqual(traces(name), before)
})

test('giving up by a signal takes down what was started', async () => {
  const name = newName('abort')
  const before = traces(name)
  const abort = new AbortController()
  const options = bare(name, {
    signal: abort.signal,
    onProgress: () => abort.abort(new Error('enough')),
  })
  await assert.rejects(startLab(options), { message: 'enough' })
  assert.deepEqual(traces(name), before)
})

test('a lab ends with the process that started it, unless it was asked to stay', async () => {
  const name = newName('tied')
  const child = upElsewhere(bare(name))
  await says(child, /^up$/m)
  child.kill('SIGKILL')
  await waitFor('all is gone', () => !existsSync(labPaths(name).folder) && processesOf(name).length === 0)

  const kept = newName('kept')
  const keeper = upElsewhere(bare(kept, { keep: true }))
  await says(keeper, /^up$/m)
  const gone = new Promise(resolve => keeper.on('exit', resolve))
  keeper.kill('SIGKILL')
  await gone
  assert.equal((await openLab(kept).exec('node1', ['true'])).code, 0)
  assert.equal(await downLab(kept), true)
  assert.deepEqual(processesOf(kept), [])
})

for (const [what, victim] of [
  ['outer process', (state: LabState) => state.outer.pid],
  ['inner process', (state: LabState) => state.inner?.pid ?? 0],
  [
    'daemon',
    (state: LabState) =>
      processesOf(state.name).find(pid =>
        /^[^\0]*node\0[^\0]*daemon-main\.js/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8')),
      ) ?? 0,
  ],
] as const) {
  test(`SIGKILL for the ${what} ends all of the lab, and the next one starts`, async () => {
    const name = newName(what.replace(' ', '-'))
    const before = traces(name)
    const lab = await startLab(bare(name, { keep: true }))
    lab.spawn('node1', ['sleep', '1000'], { stdio: 'ignore', detached: true }).unref()
    const { inner } = stateOf(name)
    assert.ok(inner !== undefined)
    const pid = victim(stateOf(name))
    assert.ok(pid > 1)
    process.kill(pid, 'SIGKILL')
    await waitFor('its processes are gone', () => processesOf(name).length === 0 && !isAlive(inner))
    assert.throws(() => openLab(name), { code: 'not-running', message: /broke down.*lab up --name/ })
    // What is left are its files.
    assert.deepEqual({ ...traces(name), files: false }, before)

    const again = await startLab(bare(name))
    assert.equal((await again.exec('node2', ['true'])).code, 0)
    await again.down()
    assert.deepEqual(traces(name), before)
  })
}

test('a frozen daemon is ended by down', async () => {
  const name = newName('frozen')
  const lab = await startLab(bare(name))
  for (const pid of processesOf(name)) process.kill(pid, 'SIGSTOP')
  await lab.down()
  // The process between them ends by itself when the daemon has.
  await waitFor('the end of its processes', () => processesOf(name).length === 0)
})

test('a process that has got the id of a dead lab is left alone', async () => {
  const name = newName('reused')
  const paths = labPaths(name)
  const bystander = spawn('sleep', ['1000'], { stdio: 'ignore' })
  assert.ok(bystander.pid !== undefined)
  mkdirSync(paths.folder)
  const stranger = { pid: bystander.pid, startTime: '1' }
  const stale = { name, outer: stranger, inner: stranger, userNamespace: false, hosts: [], ready: true }
  writeFileSync(paths.state, JSON.stringify(stale))
  assert.equal(await downLab(name), true)
  assert.notEqual(identify(bystander.pid), undefined)
  bystander.kill('SIGKILL')
})

test('a network that cannot be made says so, and leaves nothing behind', async () => {
  const name = newName('refused')
  await assert.rejects(startLab(bare(name, { nodes: 81 })), { message: 'a lab has 1 to 80 nodes, not 81' })
  await assert.rejects(startLab(bare('Not/A.Name')), { code: 'bad-argument' })
  assert.equal(existsSync(labPaths(name).folder), false)
})

/** Stands in for speaker and controller, so that this tests the lab alone. It gets their flags behind `--`. */
function placeholder(script: string): readonly string[] {
  return [process.execPath, '-e', script, '--']
}
const READY = placeholder(`
  console.log(JSON.stringify({ event: 'stand-in-ready', flags: process.argv.slice(1) }))
  process.on('SIGTERM', () => { console.log('left in order'); process.exit() })
  setInterval(() => {}, 1000)
`)

test('a lab with a cluster: its API from the host, its speakers killed in each way', async t => {
  const name = newName('cluster')
  const before = traces(name)
  const commands = { speaker: READY, controller: READY }
  const lab = await startLab({ name, nodes: 2, clients: 1, ipv6: true, commands })
  const speaker = async () => {
    const speaker = (await lab.status()).nodes[0]?.speaker
    assert.ok(speaker !== undefined)
    return speaker
  }

  const clock = new SystemClock()
  const config = await loadKubeConfig({ clock, kubeconfig: lab.kubeconfigPath })
  const kube = createKube({ config, clock, random: systemRandom, log: new FakeLog(), userAgent: 'test' })
  t.after(() => kube.close())

  await t.test('the kubeconfig leads from the host to the API server', async () => {
    assert.equal(config.server.hostname, '127.0.0.1')
    const nodes = await kube.list(RESOURCES.nodes)
    assert.deepEqual(
      nodes.map(node => node.metadata.name),
      ['node1', 'node2'],
    )
    const namespaces = (await kube.list(RESOURCES.namespaces)).map(({ metadata }) => metadata.name)
    for (const wanted of ['default', 'kube-system', 'metallb-system']) assert.ok(namespaces.includes(wanted))
  })

  await t.test('the status knows Services with their addresses and owners', async () => {
    await kube.create(RESOURCES.services, {
      metadata: { name: 'web', namespace: 'default' },
      spec: { type: 'LoadBalancer', clusterIP: '10.96.0.99', ports: [{ port: 80 }] },
    })
    await kube.patch(
      RESOURCES.services,
      { namespace: 'default', name: 'web' },
      { status: { loadBalancer: { ingress: [{ ip: '192.0.2.150' }] } } },
      { type: 'merge', subresource: 'status' },
    )
    const l2 = { namespace: 'metallb-system', name: 'l2-1' }
    await kube.create(RESOURCES.serviceL2Statuses, { metadata: l2 })
    await kube.patch(
      RESOURCES.serviceL2Statuses,
      l2,
      { status: { node: 'node2', serviceName: 'web', serviceNamespace: 'default' } },
      { type: 'merge', subresource: 'status' },
    )
    const { services, pods, apiError } = await lab.status()
    assert.equal(apiError, undefined)
    assert.deepEqual(pods, [])
    assert.deepEqual(
      services.find(service => service.name === 'web'),
      {
        namespace: 'default',
        name: 'web',
        type: 'LoadBalancer',
        clusterIps: ['10.96.0.99'],
        externalIps: ['192.0.2.150'],
        owners: ['node2'],
      },
    )
  })

  await t.test('a node that is cut off hears of no Service until it is revived', async () => {
    const knows = async (node: string, ip: string) =>
      (await lab.exec(node, ['nft', 'list', 'ruleset'])).stdout.includes(ip)
    const create = async (name: string, clusterIP: string) => {
      const spec = { clusterIP, ports: [{ port: 80 }] }
      await kube.create(RESOURCES.services, { metadata: { name, namespace: 'default' }, spec })
    }
    await lab.kill('node2', 'link')
    await create('first', '10.96.0.101')
    await waitFor('node1 knows the first', () => knows('node1', '10.96.0.101'))
    // The first is long past node2 when the second has arrived at its neighbour.
    await create('second', '10.96.0.102')
    await waitFor('node1 knows the second', () => knows('node1', '10.96.0.102'))
    assert.equal(await knows('node2', '10.96.0.101'), false)
    await lab.revive('node2')
    await waitFor('node2 knows both', async () => {
      return (await knows('node2', '10.96.0.101')) && (await knows('node2', '10.96.0.102'))
    })
  })

  await t.test('a fault for one user is met by that user only, and ends', async () => {
    await lab.apiFault({ status: 503 }, 'kubernetes-admin')
    await assert.rejects(kube.list(RESOURCES.nodes), { status: 503 })
    assert.equal((await lab.status()).apiError, undefined)
    await lab.apiFault(undefined)
    assert.equal((await kube.list(RESOURCES.nodes)).length, 2)
    await lab.compactApi()
  })

  await t.test('a speaker gets its node and a kubeconfig that works inside', async () => {
    const log = readFileSync(join(lab.logFolder, 'speaker-node1.log'), 'utf8')
    const { flags } = JSON.parse(log.slice(0, log.indexOf('\n'))) as { flags: string[] }
    assert.equal(flags[flags.indexOf('--node-name') + 1], 'node1')
    const kubeconfig = readFileSync(flags[flags.indexOf('--kubeconfig') + 1] ?? '', 'utf8')
    assert.match(kubeconfig, /https:\/\/192\.0\.2\.2:6443/)
  })

  await t.test('a speaker that dies by itself is started again', async () => {
    const { pid, rssBytes } = await speaker()
    assert.ok(rssBytes !== undefined && rssBytes > 1e6)
    await lab.exec('node1', ['sh', '-c', `kill -9 ${pid}`])
    await waitFor('another one', async () => {
      const now = await speaker()
      return now.state === 'running' && now.pid !== pid && now.restarts === 1
    })
  })

  await t.test('killed, it stays dead until revived', async () => {
    await lab.kill('node1', 'process')
    assert.deepEqual(await speaker(), { state: 'stopped', restarts: 1 })
    await lab.revive('node1')
    await waitFor('back', async () => (await speaker()).state === 'running')
  })

  await t.test('frozen, it stands still until revived', async () => {
    await lab.kill('node1', 'freeze')
    const { pid, state } = await speaker()
    assert.equal(state, 'frozen')
    const stat = async () =>
      (await lab.exec('node1', ['cut', '-d', ' ', '-f', '3', `/proc/${pid}/stat`])).stdout
    assert.equal(await stat(), 'T\n')
    await lab.revive('node1')
    assert.deepEqual([(await speaker()).pid, (await speaker()).state], [pid, 'running'])
    assert.notEqual(await stat(), 'T\n')
  })

  await t.test('drained, it has left in order', async () => {
    await lab.kill('node1', 'drain')
    assert.equal((await speaker()).state, 'stopped')
    assert.match(readFileSync(join(lab.logFolder, 'speaker-node1.log'), 'utf8'), /left in order/)
    await lab.revive('node1')
    await waitFor('back', async () => (await speaker()).state === 'running')
  })

  await lab.down()
  assert.deepEqual(traces(name), before)
})

test('a lab whose speaker never gets ready says so with the end of its log', async () => {
  const name = newName('unready')
  const before = traces(name)
  const options: LabOptions = {
    name,
    nodes: 1,
    readyWithinMs: 2_000,
    commands: {
      speaker: placeholder('console.log("no such pool"); setInterval(() => {}, 1000)'),
      controller: READY,
    },
  }
  await assert.rejects(startLab(options), (error: LabError) => {
    assert.match(error.message, /^not ready within 2 s\n\S*speaker-node1\.log ends with:\nno such pool/)
    assert.doesNotMatch(error.message, /controller/)
    return error.code === 'not-ready'
  })
  assert.deepEqual(traces(name), before)
})

test('a lab whose speaker ends again and again says so at once, with the end of its log', async () => {
  const name = newName('crashing')
  const before = traces(name)
  const options: LabOptions = {
    name,
    nodes: 1,
    readyWithinMs: 600_000,
    commands: { speaker: placeholder('console.error("no such pool"); process.exit(1)'), controller: READY },
  }
  await assert.rejects(startLab(options), (error: LabError) => {
    assert.match(
      error.message,
      /^speaker-node1 ended 4 times in a row before it was ready \(exit 1\)\n\S*speaker-node1\.log ends with:\nno such pool/,
    )
    return error.code === 'not-ready'
  })
  assert.deepEqual(traces(name), before)
})

/** nobody, on any Debian. */
const ORDINARY_USER = 65534
const AS_ORDINARY = [
  'setpriv',
  `--reuid=${ORDINARY_USER}`,
  `--regid=${ORDINARY_USER}`,
  '--clear-groups',
] as const

function whyNotOrdinary(): string | false {
  if (process.getuid?.() !== 0) return 'only root can become another user; all other tests here ran as one'
  const tried = spawnSync(AS_ORDINARY[0], [
    ...AS_ORDINARY.slice(1),
    'unshare',
    '--user',
    '--map-root-user',
    'true',
  ])
  return tried.status === 0 ? false : 'user namespaces are forbidden here'
}

test('works for an ordinary user', { skip: whyNotOrdinary() }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'lodestone-ordinary-'))
  try {
    // The checkout may be closed to others: run a copy, without the tools of development.
    cpSync(distFolder, join(folder, 'dist'), { recursive: true })
    cpSync(join(root, 'package.json'), join(folder, 'package.json'))
    cpSync(join(root, 'deploy'), join(folder, 'deploy'), { recursive: true })
    cpSync(join(root, 'node_modules'), join(folder, 'node_modules'), {
      recursive: true,
      filter: path => !/node_modules\/(@typescript|typescript|@biomejs|oxlint|@oxlint|\.bin)/.test(path),
    })
    execFileSync('chown', ['-R', String(ORDINARY_USER), folder])
    const script = `
      const { startLab } = await import(${JSON.stringify(join(folder, 'dist/src/lab/lab.js'))})
      const commands = ${JSON.stringify({ speaker: READY, controller: READY })}
      const lab = await startLab({ nodes: 2, ipv6: true, commands })
      try {
        await lab.kill('node1', 'link')
        await lab.revive('node1')
        const { code, stdout } = await lab.exec('node1', ['sh', '-c', 'id -u; ip -br addr show eth0; cat'], 'in')
        console.log(code, stdout)
        console.log((await lab.exec('node1', ['nft', 'list', 'tables'])).stdout)
        console.log((await lab.status()).nodes.map(node => node.speaker.state).join())
      } finally {
        await lab.down()
      }
    `
    const [command, ...flags] = [...AS_ORDINARY, process.execPath, '--input-type=module', '-e', script]
    const env = { PATH: '/usr/bin:/bin', TMPDIR: folder }
    const ran = spawnSync(command ?? '', flags, { cwd: folder, env, encoding: 'utf8', timeout: 60_000 })
    assert.equal(ran.status, 0, ran.stderr)
    assert.match(ran.stdout, /^0 0\neth0\S*\s+UP\s+192\.0\.2\.11\/24 2001:db8:0:1::11\/64.*\nin/)
    assert.match(ran.stdout, /^table ip lodestone-proxy\ntable ip6 lodestone-proxy\n\nrunning,running$/m)
    assert.deepEqual(readdirSync(join(folder, `lodestone-lab-${ORDINARY_USER}`)), [])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
