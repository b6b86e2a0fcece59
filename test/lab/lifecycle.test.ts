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
import type { LabOptions } from '../../src/lab/lab.ts'
import { downLab, openLab, startLab } from '../../src/lab/lab.ts'
import { searchPath } from '../../src/lab/preflight.ts'
import type { LabState } from '../../src/lab/state.ts'
import { identify, isAlive, labPaths, readState } from '../../src/lab/state.ts'

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
        return line.includes(`"name":"${name}"`) && identify(Number(pid)) !== undefined
      } catch {
        return false // It ended meanwhile.
      }
    })
    .map(Number)
}

async function waitFor(what: string, condition: () => boolean, withinMs = 15_000): Promise<void> {
  const deadline = performance.now() + withinMs
  while (!condition()) {
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
  assert.deepEqual(processesOf(name), [])
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
  await assert.rejects(startLab(bare(name, { nodes: 101 })), { message: 'a lab has 1 to 100 nodes, not 101' })
  await assert.rejects(startLab(bare('Not/A.Name')), { code: 'bad-argument' })
  assert.equal(existsSync(labPaths(name).folder), false)
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
    cpSync(join(root, 'node_modules'), join(folder, 'node_modules'), {
      recursive: true,
      filter: path => !/node_modules\/(@typescript|typescript|@biomejs|oxlint|@oxlint|\.bin)/.test(path),
    })
    execFileSync('chown', ['-R', String(ORDINARY_USER), folder])
    const script = `
      const { startLab } = await import(${JSON.stringify(join(folder, 'dist/src/lab/lab.js'))})
      const lab = await startLab({ bare: true, nodes: 2, ipv6: true })
      try {
        await lab.kill('node1', 'link')
        await lab.revive('node1')
        const { code, stdout } = await lab.exec('node1', ['sh', '-c', 'id -u; ip -br addr show eth0; cat'], 'in')
        console.log(code, stdout)
      } finally {
        await lab.down()
      }
    `
    const [command, ...flags] = [...AS_ORDINARY, process.execPath, '--input-type=module', '-e', script]
    const env = { PATH: '/usr/bin:/bin', TMPDIR: folder }
    const ran = spawnSync(command ?? '', flags, { cwd: folder, env, encoding: 'utf8', timeout: 60_000 })
    assert.equal(ran.status, 0, ran.stderr)
    assert.match(ran.stdout, /^0 0\neth0\S*\s+UP\s+192\.0\.2\.11\/24 2001:db8:0:1::11\/64.*\nin/)
    assert.deepEqual(readdirSync(join(folder, `lodestone-lab-${ORDINARY_USER}`)), [])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
