import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { KillWay } from '../../src/api/lab.ts'
import type { Lab } from '../../src/lab/lab.ts'
import { startLab } from '../../src/lab/lab.ts'
import { waitFor } from './hostile-support.ts'

const PODS = [
  { node: 'node1', podName: 'a', ips: ['10.244.1.5', '2001:db8:244:1::5'] },
  { node: 'node1', podName: 'b', ips: ['10.244.1.6', '2001:db8:244:1::6'] },
  { node: 'node2', podName: 'c', ips: ['10.244.2.5', '2001:db8:244:2::5'] },
]

let lab: Lab

before(async () => {
  lab = await startLab({ name: `topology-${process.pid}`, bare: true, nodes: 3, clients: 2, ipv6: true })
})
after(async () => {
  await lab.down()
})

/** A host is reached when it refuses a connection to a port that nobody serves. Prints the addresses that do not. */
const KNOCK = `
  const { connect } = require('node:net')
  const knock = ip => new Promise(resolve => {
    const socket = connect({ host: ip, port: 9, timeout: 3000 })
    socket.on('error', error => resolve(error.code === 'ECONNREFUSED' ? undefined : ip + ' ' + error.code))
    socket.on('timeout', () => { socket.destroy(); resolve(ip + ' no answer') })
  })
  Promise.all(process.argv.slice(1).map(knock)).then(all => console.log(all.filter(Boolean).join('\\n')))
`

async function unreachable(from: string, ips: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(from, [process.execPath, '-e', KNOCK, ...ips])
  assert.equal(code, 0, stderr)
  return stdout.trim()
}

async function inDaemonNamespaces(body: string): Promise<string> {
  const url = new URL('../../src/lab/netns.js', import.meta.url).href
  const script = `const { createPodNetwork } = await import(${JSON.stringify(url)}); ${body}`
  const { code, stdout, stderr } = await lab.exec('control', [
    process.execPath,
    '--input-type=module',
    '-e',
    script,
  ])
  assert.equal(code, 0, stderr)
  return stdout.trim()
}

test('every host reaches every other over IPv4 and IPv6', async () => {
  const status = await lab.status()
  const hosts = [...status.nodes, ...status.hosts].filter(host => host.ips.length > 0)
  assert.equal(hosts.length, 8) // 3 nodes, 2 clients, control, router, remote
  const ips = hosts.flatMap(host => host.ips)
  assert.equal(ips.length, 16)
  for (const host of hosts) assert.equal(await unreachable(host.name, ips), '', `from ${host.name}`)
})

test('pods reach each other on the same and on other nodes, and hosts reach pods, until they are detached', async () => {
  const namespaces = await inDaemonNamespaces(`
    const network = createPodNetwork()
    for (const pod of ${JSON.stringify(PODS)}) console.log((await network.attachPod(pod)).namespace)
    process.stdin.resume().on('end', () => process.exit())
  `)
  const names = namespaces.split('\n')
  assert.equal(names.length, 3)
  const podIps = PODS.flatMap(pod => pod.ips)
  for (const from of [...names, 'node1', 'node3', 'client1', 'remote']) {
    assert.equal(await unreachable(from, podIps), '', `from ${from}`)
  }
  assert.equal(
    await unreachable(names[0] ?? '', ['192.0.2.12', '192.0.2.201', '203.0.113.11', '2001:db8:0:2::11']),
    '',
  )
  // Two pods of one node talk through their node, so that its tables see all their packets.
  const route = await lab.exec(names[0] ?? '', ['ip', 'route', 'get', '10.244.1.6'])
  assert.match(route.stdout, /via 169\.254\.1\.1/)
})

test('a pod that is detached, or could not be attached, leaves neither namespace nor interface', async () => {
  const there = async () => {
    const namespaces = await lab.exec('control', ['ip', 'netns'])
    const links = await lab.exec('node3', ['ip', '-o', 'link'])
    return namespaces.stdout.trim().split('\n').length + links.stdout.trim().split('\n').length
  }
  const before = await there()
  await inDaemonNamespaces(`
    const { spawnIn } = await import(${JSON.stringify(new URL('../../src/lab/netns.js', import.meta.url).href)})
    const network = createPodNetwork('other')
    await network.attachPod({ node: 'node9', podName: 'x', ips: [] }).then(
      () => { throw new Error('attached to a node that does not exist') },
      error => { if (error.name !== 'LabError') throw error },
    )
    const { namespace } = await network.attachPod({ node: 'node3', podName: 'y', ips: ['10.244.3.9'] })
    if (spawnIn(namespace, ['true']).pid === undefined) throw new Error('not started')
    await network.detachPod('y')
    await network.detachPod('never attached')
  `)
  assert.equal(await there(), before)
})

for (const [how, carrier] of [
  ['link', /NO-CARRIER/],
  ['blackhole', /LOWER_UP/],
] satisfies [KillWay, RegExp][]) {
  test(`kill by ${how} cuts a node off, revive brings it back`, async () => {
    await lab.kill('node2', how)
    assert.match(await unreachable('client1', ['192.0.2.12', '2001:db8:0:1::12']), /192.*\n.*2001/)
    assert.match((await lab.exec('node2', ['ip', 'link', 'show', 'eth0'])).stdout, carrier)
    const killed = (await lab.status()).nodes.map(node => node.link)
    assert.deepEqual(killed, ['up', how === 'link' ? 'cut' : 'blackholed', 'up'])
    await lab.revive('node2')
    // Who asked for the node while it was cut off may still be told that it is not there.
    await waitFor('the node to be reached', async () => {
      return (await unreachable('client1', ['192.0.2.12', '2001:db8:0:1::12'])) === ''
    })
    // Its own routes have survived as well.
    await waitFor('the remote host to be reached', async () => {
      return (await unreachable('node2', ['203.0.113.11', '2001:db8:0:2::11'])) === ''
    })
  })
}

test('exec passes input, output and exit status, and keeps the folder', async () => {
  const script = 'cat; echo oops >&2; pwd; exit 7'
  assert.deepEqual(await lab.exec('node1', ['sh', '-c', script], 'hello\n'), {
    code: 7,
    stdout: `hello\n${process.cwd()}\n`,
    stderr: 'oops\n',
  })
})

for (const [what, action, message] of [
  ['a host that is not there', () => lab.exec('node9', ['true']), /no host "node9": it has .*node1/],
  ['a node that is not there', () => lab.kill('client1', 'link'), /no node "client1": there are node1/],
  ['a speaker where none runs', () => lab.kill('node1', 'drain'), /this lab has no speakers/],
] as const) {
  test(`${what} is refused in one sentence`, async () => {
    await assert.rejects(async () => await action(), { name: 'LabError', message })
  })
}

test('processes of the lab see its processes only, and orphans are collected', async () => {
  // The shell ends first: its child is left to process 1.
  await lab.exec('node1', ['sh', '-c', 'sh -c "sleep 0.01" & exit 0'])
  const { stdout } = await lab.exec('control', [
    'sh',
    '-c',
    'for p in /proc/[0-9]*/stat; do cat $p 2>/dev/null; done',
  ])
  const lines = stdout.trim().split('\n')
  assert.ok(lines.length < 10, stdout)
  assert.match(stdout, /^1 \(sh\)/m)
})
