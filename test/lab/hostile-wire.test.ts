import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { switchPort } from '../../src/lab/topology.ts'
import { pause, program, Stage } from './hostile-support.ts'

// Strangers on the wire: whatever they send, the speakers stay up, answer for what they own, and nothing moves.

let stage: Stage
let ips: readonly string[]
let owner: string
let pids: string
/** How the first owner came to its addresses; nothing is added to it. */
let moves: Record<string, unknown>
let macs: ReadonlyMap<string, string>

type Asked = { asked: number; answered: number; answers: Record<string, number> }

before(async () => {
  // Three nodes share two processors with the flood, which each of them hears: patience for that, so that silence means what it should.
  const patience = ['--heartbeat-interval', '50ms', '--heartbeat-misses', '20', '--return-after', '1s']
  const commands = { speaker: [...program('speaker'), ...patience], controller: program('controller') }
  stage = await Stage.start('wire', { nodes: 3, clients: 2, ipv6: true, commands })
  await stage.deploy('web', 2)
  await stage.service('web', 'web', { ipFamilyPolicy: 'RequireDualStack' })
  ;({ ips, owner } = await stage.announced('web', 2))
  for (const ip of ips) await stage.reachable('client1', ip)
  pids = await stage.pids()
  macs = await stage.macs()
  moves = await movesOf()
})

after(() => stage?.end())

function address(family: 'IPv4' | 'IPv6'): string {
  const found = ips.find(ip => ip.includes(':') === (family === 'IPv6'))
  assert.ok(found !== undefined)
  return found
}

/** By node, what its speaker took over and gave up. */
async function movesOf(): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {}
  for (const { name } of (await stage.lab.status()).nodes) {
    found[name] = (JSON.parse(await stage.speaker(name)) as { moves: unknown[] }).moves
  }
  return found
}

/** Same processes, same owner, no takeover in between, and both addresses lead to pods. */
async function unmoved(): Promise<void> {
  assert.equal(await stage.pids(), pids)
  assert.equal((await stage.announced('web', 2)).owner, owner)
  assert.deepEqual(await movesOf(), moves)
  const answers = await stage.send<Asked>('client1', {
    type: 'ask',
    ip: address('IPv4'),
    everyMs: 20,
    forMs: 200,
  })
  assert.deepEqual(Object.keys(answers.answers), [macs.get(owner)])
  for (const ip of ips) assert.equal((await stage.fetch('client1', ip, 3)).failed, 0, ip)
}

test('frames that are cut short, too long, bent or random change nothing', async () => {
  // So that frames longer than a slot of the receive queue arrive at all.
  const { nodes, hosts } = await stage.lab.status()
  const ends = [...nodes.map(node => node.name), 'client1']
  const bridge = hosts.find(host => host.role === 'switch')?.name
  assert.ok(bridge !== undefined)
  for (const name of ends) {
    const inside = await stage.lab.exec(name, ['ip', 'link', 'set', 'eth0', 'mtu', '4000'])
    const outside = await stage.lab.exec(bridge, ['ip', 'link', 'set', switchPort(name), 'mtu', '4000'])
    assert.deepEqual([inside.code, outside.code], [0, 0], inside.stderr + outside.stderr)
  }
  const { sent } = await stage.send<{ sent: number }>('client1', {
    type: 'garbage',
    ips,
    count: 8000,
    longest: 3000,
  })
  assert.ok(sent > 7000, `${sent} sent`)
  for (const name of ends) await stage.lab.exec(name, ['ip', 'link', 'set', 'eth0', 'mtu', '1500'])
  await unmoved()
})

test('a flood of 100,000 requests a second stops neither answers to others nor heartbeats', async () => {
  // Half of them for the address itself, which each cost an answer.
  const target = address('IPv4')
  const flood = stage.send<{ sent: number; forMs: number }>('client2', {
    type: 'flood',
    ips: [target, '192.0.2.250'],
    rate: 100_000,
    forMs: 3000,
  })
  await pause(500)
  const asking = await stage.send<Asked>('client1', { type: 'ask', ip: target, everyMs: 50, forMs: 2000 })
  const { sent, forMs } = await flood
  assert.ok(sent > 10 * forMs, `only ${sent} frames in ${forMs} ms`)
  assert.deepEqual(Object.keys(asking.answers), [macs.get(owner)])
  // A client asks three times, a second apart, before it gives up (RFC 4861's and Linux's defaults).
  assert.ok(asking.answered >= asking.asked / 3, JSON.stringify(asking))
  await unmoved()
})

test('forged, random and replayed-looking heartbeats are counted and change nothing', async () => {
  const { nodes } = await stage.lab.status()
  for (const to of nodes) {
    const before = await stage.metric(to.name, /^lodestone_heartbeats_received_total/)
    const from = nodes.find(node => node.name !== to.name)?.name ?? ''
    await stage.send('client2', { type: 'heartbeats', from, to: to.name, ip: to.ips[0], count: 3000 })
    assert.ok((await stage.metric(to.name, /^lodestone_heartbeats_received_total/)) >= before)
  }
  await pause(500)
  await unmoved()
})

test('a stranger that claims our addresses is contradicted, and owns nothing', async () => {
  const frames = () => stage.metric(owner, /^metallb_layer2_gratuitous_sent/)
  const announcedBefore = await frames()
  await stage.send('client2', { type: 'claim', ips, count: 20 })
  await pause(5500)
  assert.ok((await frames()) > announcedBefore, 'the owner said again whose they are')
  await unmoved()
})

test('who asks in the name of everybody gets no answer', async () => {
  const { replies } = await stage.send<{ replies: number }>('client2', {
    type: 'group-asker',
    ip: address('IPv4'),
    count: 50,
  })
  assert.equal(replies, 0)
  await unmoved()
})
