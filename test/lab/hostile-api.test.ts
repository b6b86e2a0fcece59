import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { ApiFault } from '../../src/api/lab.ts'
import { LAB_USERS } from '../../src/api/lab.ts'
import { outagesAfterMark } from '../../src/lab/probe/analysis.ts'
import { RESOURCES } from '../../src/ports/kube.ts'
import { addressesOf, ownersOf, pause, Stage, waitFor } from './hostile-support.ts'

// An API server that misbehaves, and processes that die: what is announced stays announced, and all recover.

let stage: Stage
let ip: string
let pids: string

before(async () => {
  stage = await Stage.start('api', { nodes: 3, clients: 1 })
  await stage.deploy('web', 3)
  await stage.service('web', 'web')
  ;({
    ips: [ip = ''],
  } = await stage.announced('web'))
  await stage.reachable('client1', ip)
  pids = await stage.pids()
})

after(() => stage?.end())

async function faultForAll(fault: ApiFault | undefined): Promise<void> {
  if (fault === undefined) await stage.lab.apiFault(undefined)
  else for (const user of Object.values(LAB_USERS)) await stage.lab.apiFault(fault, user)
}

const FAULTS: readonly ApiFault[] = [
  'close-watches',
  { status: 410 },
  { status: 429 },
  { status: 500 },
  'half-json',
  'hang',
  'refuse',
]

for (const fault of FAULTS) {
  const name = typeof fault === 'string' ? fault : `status-${fault.status}`
  test(`API server: ${name}: addresses are answered for meanwhile, and news arrive afterwards`, async t => {
    t.after(() => faultForAll(undefined))
    await faultForAll(fault)
    // Lets every watch that is open meet the fault when it resumes.
    await stage.lab.compactApi()
    await stage.service(name, 'web')
    await pause(fault === 'hang' ? 5000 : 1000)
    assert.equal((await stage.fetch('client1', ip, 5)).failed, 0)
    assert.equal(await stage.pids(), pids)
    await faultForAll(undefined)
    const { ips } = await stage.announced(name)
    // The lab's service proxies follow in their own time.
    await waitFor('an answer', async () => (await stage.fetch('client1', ips[0] ?? '')).failed === 0)
    assert.equal(await stage.pids(), pids)
    await stage.kube.delete(RESOURCES.services, { namespace: 'default', name })
  })
}

test('with the API server away a cut link still fails over', async t => {
  const { owner } = await stage.announced('web')
  t.after(() => faultForAll(undefined))
  await faultForAll('refuse')
  const probe = stage.probe('client1', { target: ip, port: 80, intervalMs: 5 })
  await probe.answered
  await pause(300)
  probe.mark('cut')
  await stage.lab.kill(owner, 'link')
  await pause(1500)
  const report = await probe.stop()
  const [outage] = outagesAfterMark(report, 'cut')
  // Flows to the lost node's pod hang until Kubernetes notices that it is gone; the others go on by the next owner.
  assert.ok(outage !== undefined && outage.firstAnswerBy !== null, JSON.stringify(outage))
  const last = report.timeline.filter(entry => entry.fromMs > (report.timeline.at(-1)?.toMs ?? 0) - 500)
  assert.ok(
    last.some(entry => Object.keys(entry.nodes).length > 0),
    JSON.stringify(last),
  )
  await stage.lab.revive(owner)
  await faultForAll(undefined)
  await waitFor(
    'the owner to be back',
    async () => ownersOf(await stage.lab.status(), 'web').join() === owner,
  )
})

test('a controller that is killed while 50 Services appear gives each one address, and none twice', async () => {
  const names = Array.from({ length: 50 }, (_, i) => `many-${i}`)
  for (const [i, name] of names.entries()) {
    await stage.service(name, 'web')
    if (i === 25) {
      const { controller } = await stage.lab.status()
      assert.ok(controller?.pid !== undefined)
      // Its number is that of the lab's own process namespace, where exec runs too.
      const { code, stderr } = await stage.lab.exec('control', ['kill', '-9', String(controller.pid)])
      assert.equal(code, 0, stderr)
    }
  }
  let given: string[] = []
  await waitFor('50 addresses', async () => {
    const services = await stage.kube.list(RESOURCES.services, { namespace: 'default' })
    given = services.filter(each => each.metadata.name.startsWith('many-')).flatMap(addressesOf)
    return given.length === 50
  })
  assert.equal(new Set([...given, ip]).size, 51)
  assert.deepEqual(await stage.addresses('web'), [ip])
  for (const name of names) await stage.kube.delete(RESOURCES.services, { namespace: 'default', name })
})

test('a speaker that is killed takes its addresses back, and nobody else goes on answering', async () => {
  const { owner } = await stage.announced('web')
  const macs = await stage.macs()
  const ask = () =>
    stage.send<{ answers: Record<string, number> }>('client1', { type: 'ask', ip, everyMs: 20, forMs: 300 })
  await stage.lab.kill(owner, 'process')
  await waitFor('another to take over', async () => {
    const macsNow = Object.keys((await ask()).answers)
    return macsNow.length === 1 && macsNow[0] !== macs.get(owner)
  })
  await stage.lab.revive(owner)
  await waitFor(
    'the owner to be back',
    async () => ownersOf(await stage.lab.status(), 'web').join() === owner,
  )
  assert.deepEqual(Object.keys((await ask()).answers), [macs.get(owner)])
})

test('a speaker that was frozen takes its addresses back, says so, and nobody else goes on answering', async () => {
  const { owner } = await stage.announced('web')
  const macs = await stage.macs()
  const ask = () =>
    stage.send<{ answers: Record<string, number> }>('client1', { type: 'ask', ip, everyMs: 20, forMs: 300 })
  const frames = () => stage.metric(owner, /^metallb_layer2_gratuitous_sent/)
  await pause(5500)
  const before = await frames()
  await stage.lab.kill(owner, 'freeze')
  await waitFor('another to take over', async () => {
    const now = Object.keys((await ask()).answers)
    return now.length === 1 && now[0] !== macs.get(owner)
  })
  await stage.lab.revive(owner)
  await waitFor('the owner to answer alone', async () => {
    const now = Object.keys((await ask()).answers)
    return now.length === 1 && now[0] === macs.get(owner)
  })
  // The counters come every five seconds.
  await waitFor('new announcements', async () => (await frames()) > before)
})

test('a speaker may start while the API server is away', async t => {
  const { owner } = await stage.announced('web')
  t.after(() => faultForAll(undefined))
  await stage.lab.kill(owner, 'process')
  await stage.lab.apiFault('refuse', LAB_USERS.speaker)
  await stage.lab.revive(owner)
  await pause(1000)
  // It knows nothing yet, so it must not be heard as alive: another one answers.
  assert.equal((await stage.fetch('client1', ip, 3)).failed < 3, true)
  const { nodes } = await stage.lab.status()
  assert.equal(nodes.find(node => node.name === owner)?.speaker?.restarts, 0)
  await faultForAll(undefined)
  await waitFor(
    'the owner to be back',
    async () => ownersOf(await stage.lab.status(), 'web').join() === owner,
  )
})
