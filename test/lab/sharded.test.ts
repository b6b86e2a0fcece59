// One address, three nodes, many askers: real speakers, and the neighbour tables of real kernels.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type Ip, isIpv4, parseIp } from '../../src/addr/ip.ts'
import { type NeighbourView, openNeighbourView } from '../../src/lab/scenarios/neighbours.ts'
import { createShares, ownerOf } from '../../src/layer2/shards.ts'
import { RESOURCES } from '../../src/ports/kube.ts'
import { Stage, waitFor } from './hostile-support.ts'

const NODES = ['node1', 'node2', 'node3']
const CLIENTS = Array.from({ length: 8 }, (_, i) => `client${i + 1}`)

/** Answer of hostile-sender.ts. */
type Heard = { readonly asked: number; readonly answers: Readonly<Record<string, number>> }

let stage: Stage
let view: NeighbourView
let ips: readonly Ip[]
/** Of each client and family, the address that it asks with. */
const asksWith = new Map<string, readonly Ip[]>()

before(async () => {
  stage = await Stage.start('sharded', { nodes: NODES.length, clients: CLIENTS.length, ipv6: true })
  await stage.deploy('web', 3)
  await stage.kube.create(RESOURCES.services, {
    metadata: { namespace: 'default', name: 'web', annotations: { 'lodestone.dev/layer2-mode': 'sharded' } },
    spec: {
      type: 'LoadBalancer',
      ipFamilyPolicy: 'RequireDualStack',
      selector: { app: 'web' },
      ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080 }],
    },
  })
  view = await openNeighbourView(stage.lab, NODES)
  for (const client of CLIENTS) {
    // Entries that are not used are thrown away after a minute, and with them what these tests look at.
    const keep = [4, 6].map(v => `echo 86400 > /proc/sys/net/ipv${v}/neigh/eth0/gc_stale_time`).join(' && ')
    const { code, stderr } = await stage.lab.exec(client, ['sh', '-c', keep])
    assert.equal(code, 0, stderr)
  }
  await waitFor('every node to say that it answers', async () => {
    const service = (await stage.lab.status()).services.find(({ name }) => name === 'web')
    ips = (service?.externalIps ?? []).map(parseIp).filter(ip => ip !== undefined)
    return ips.length === 2 && [...(service?.owners ?? [])].sort().join() === NODES.join()
  })
  for (const { name, ips: texts } of (await stage.lab.status()).hosts)
    asksWith.set(
      name,
      texts.map(parseIp).filter(ip => ip !== undefined),
    )
})
after(() => stage.end())

function ownerFor(client: string, ip: Ip, nodes: readonly string[]): string | undefined {
  const asker = asksWith.get(client)?.find(each => isIpv4(each) === isIpv4(ip))
  assert.ok(asker !== undefined)
  return ownerOf(createShares(ip, nodes), asker)
}

/** Which node each client sends to, by its own neighbour table. */
async function entries(): Promise<Map<string, string | undefined>> {
  const found = new Map<string, string | undefined>()
  for (const client of CLIENTS) {
    const seen = await view.ownersSeenBy(client)
    for (const ip of ips) found.set(`${client} ${ip}`, seen.get(ip))
  }
  return found
}

function expected(nodes: readonly string[]): Map<string, string | undefined> {
  return new Map(CLIENTS.flatMap(client => ips.map(ip => [`${client} ${ip}`, ownerFor(client, ip, nodes)])))
}

/** Who sends to another node than it should. */
async function astray(wanted: ReadonlyMap<string, string | undefined>): Promise<string[]> {
  const found = await entries()
  return [...wanted].flatMap(([key, node]) =>
    found.get(key) === node ? [] : [`${key}: ${found.get(key) ?? 'nobody'} instead of ${node}`],
  )
}

async function settled(what: string, nodes: readonly string[], withinMs?: number): Promise<void> {
  let last: string[] = []
  try {
    await waitFor(what, async () => (last = await astray(expected(nodes))).length === 0, withinMs)
  } catch (error) {
    throw new Error(`${what}: ${last.join('; ')}`, { cause: error })
  }
}

test('each client reaches the Service through the node that its share says, by both families', async () => {
  const wanted = expected(NODES)
  for (const ip of ips) {
    const owners = CLIENTS.map(client => wanted.get(`${client} ${ip}`))
    assert.ok(new Set(owners).size > 1, `all clients would have one node for ${ip}: ${owners.join()}`)
  }
  for (const client of CLIENTS) for (const ip of ips) await stage.reachable(client, ip)
  // Whoever asked while the cluster was starting is told within the time over which joins are spread.
  await settled('every client to have the node of its share', NODES)
})

test('every question gets one answer, always from the same node', async () => {
  const macs = await stage.macs()
  const ip: Ip | undefined = ips.find(each => isIpv4(each))
  assert.ok(ip !== undefined)
  for (const client of CLIENTS.slice(0, 4)) {
    const task: Record<string, unknown> = { type: 'ask', ip, everyMs: 20, forMs: 400 }
    const heard: Heard = await stage.send(client, task)
    const mac: string = macs.get(ownerFor(client, ip, NODES) ?? '') ?? ''
    assert.ok(heard.asked > 5)
    assert.deepEqual(heard.answers, { [mac]: heard.asked })
  }
})

test('a lost node: exactly its askers are told who answers them now, the others keep their node', async () => {
  const lost = ownerFor('client1', ips[0] as Ip, NODES) ?? ''
  const rest = NODES.filter(node => node !== lost)
  const [before, wanted] = [expected(NODES), expected(rest)]
  assert.deepEqual(await astray(before), [])
  await stage.lab.kill(lost, 'link')
  try {
    await settled('the askers of the lost node to be told', rest)
    for (const [key, node] of before) if (node !== lost) assert.equal(wanted.get(key), node, key)
    // The pods of the lost node are still endpoints, so some requests fail.
    for (const ip of ips) assert.ok((await stage.fetch('client1', ip, 20)).pods.size > 0)
  } finally {
    await stage.lab.revive(lost)
  }
  // It takes its share back when it has proven stable, little by little.
  await settled('the node that came back to have its share again', NODES, 120_000)
})

test('a speaker that starts anew is told who asked, and stands in for a node that is lost later', async () => {
  const restarted = ownerFor('client1', ips[0] as Ip, NODES) ?? ''
  await stage.lab.kill(restarted, 'drain')
  const rest = NODES.filter(node => node !== restarted)
  await settled('its askers to be with the others', rest)
  await stage.lab.revive(restarted)
  await settled('it to have its share again', NODES, 120_000)
  // It heard no question since it started, and is the only one that is left with some of these askers.
  const lost = rest[0] as string
  await stage.lab.kill(lost, 'link')
  try {
    await settled(
      'the askers of the lost node to be told',
      NODES.filter(node => node !== lost),
    )
  } finally {
    await stage.lab.revive(lost)
  }
})
