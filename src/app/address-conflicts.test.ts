import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, parseIp } from '../addr/ip.ts'
import { type Mac, parseMac } from '../addr/mac.ts'
import { serviceFromObject } from '../config/services.ts'
import { FakeClock } from '../ports/clock.ts'
import { KubeError, RESOURCES } from '../ports/kube.ts'
import { FakeKube } from '../ports/kube-fake.ts'
import { FakeLog } from '../ports/log.ts'
import { AddressConflicts, CONFLICT_OVER_MS, shownConflict } from './address-conflicts.ts'
import { ADDRESS_CONFLICT } from './service-conditions.ts'

const SERVICES = RESOURCES.services
const WEB = { namespace: 'default', name: 'web' }
const VIP = ip('192.0.2.100')

function ip(text: string): Ip {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}

function mac(text: string): Mac {
  const parsed = parseMac(text)
  assert.ok(parsed !== undefined)
  return parsed
}

function cluster(owner = 'a') {
  const clock = new FakeClock()
  const kube = new FakeKube({ clock })
  const log = new FakeLog()
  const others = { type: 'other.dev/Ready', status: 'True', reason: 'Ready', message: '' }
  kube.seed(SERVICES, {
    metadata: WEB,
    spec: { type: 'LoadBalancer', ports: [{ port: 80 }] },
    status: { loadBalancer: { ingress: [{ ip: VIP }] }, conditions: [others] },
  })
  const facts = (key: string) => {
    const object = key === 'default/web' ? kube.peek(SERVICES, WEB) : undefined
    const conflict = object && shownConflict(object)
    return object && { ...serviceFromObject(object), ...(conflict && { conflict }) }
  }
  const speaker = (node: string) =>
    new AddressConflicts(node, { kube, clock, log }, facts, () => node === owner)
  const condition = (type = ADDRESS_CONFLICT) => {
    const status = kube.peek(SERVICES, WEB)?.['status'] as { conditions: Record<string, string>[] }
    return status.conditions.find(each => each['type'] === type)
  }
  const pass = async (ms = 0) => {
    for (let left = ms; left > 0; left -= 15_000) {
      clock.advance(Math.min(15_000, left))
      await settle()
    }
    clock.advance(0)
    await settle()
  }
  const writes = () => kube.writes.filter(({ verb }) => verb === 'patch').length
  return { kube, clock, log, speaker, condition, pass, writes }
}

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve()
}

function heard(last = '66', action: 'defended' | 'yielded' = 'defended') {
  return {
    ip: VIP,
    services: ['default/web'],
    mac: mac(`00:00:5e:00:53:${last}`),
    interfaceName: 'eth0',
    action,
  }
}

test('a conflict is a condition for as long as it lasts: one write when it begins and one when it is over', async () => {
  const { speaker, condition, pass, writes } = cluster()
  const conflicts = speaker('a')
  for (let i = 0; i < 40; i++) {
    conflicts.heard(heard())
    await pass(15_000)
  }
  assert.equal(writes(), 1)
  const { status, reason, message = '' } = condition() ?? {}
  assert.deepEqual([status, reason], ['True', 'Defended'])
  assert.match(
    message,
    /^node "a": 00:00:5e:00:53:66 on eth0 has 192.0.2.100 as well; it is announced again\. Find/,
  )
  assert.equal(condition('other.dev/Ready')?.['status'], 'True')
  await pass(CONFLICT_OVER_MS + 30_000)
  assert.deepEqual([condition()?.['status'], condition()?.['reason']], ['False', 'NoConflict'])
  await pass(CONFLICT_OVER_MS * 2)
  assert.equal(writes(), 2)
  conflicts.close()
})

test('of many hosts three are named, and forged MACs bring no more writes', async () => {
  const { speaker, condition, pass, writes } = cluster()
  const conflicts = speaker('a')
  conflicts.heard(heard('01'))
  await pass()
  for (let i = 2; i < 90; i++) {
    conflicts.heard(heard(String(i).padStart(2, '0'), 'yielded'))
    await pass()
  }
  assert.equal(writes(), 4)
  assert.match(condition()?.['message'] ?? '', /:01 on.*:02 on.*:03 on eth0[^:]*; more hosts have it, too\./)
  assert.equal(condition()?.['reason'], 'Yielded')
  conflicts.close()
})

test('it is over at once when the address left, and nothing is written for a Service that is gone', async () => {
  const { kube, speaker, condition, pass, writes } = cluster()
  const conflicts = speaker('a')
  conflicts.heard(heard())
  await pass()
  const free = { status: { loadBalancer: { ingress: null } } }
  await kube.patch(SERVICES, WEB, free, { type: 'merge', subresource: 'status' })
  conflicts.changed('default/web')
  await pass()
  assert.equal(condition()?.['status'], 'False')
  conflicts.heard(heard())
  await kube.delete(SERVICES, WEB)
  const before = writes()
  conflicts.changed('default/web')
  await pass(CONFLICT_OVER_MS + 30_000)
  assert.equal(writes(), before)
  conflicts.close()
})

test('what an earlier run or a node that is gone said is taken back by who is named or has the address', async () => {
  for (const [writer, next, over] of [
    ['a', 'a', true],
    ['gone', 'a', true],
    ['gone', 'b', false],
  ] as const) {
    const { speaker, condition, pass } = cluster()
    const first = speaker(writer)
    first.heard(heard())
    await pass()
    first.close()
    const second = speaker(next)
    second.changed('default/web')
    await pass(CONFLICT_OVER_MS - 30_000)
    assert.equal(condition()?.['status'], 'True')
    await pass(60_000)
    assert.equal(condition()?.['status'], over ? 'False' : 'True', `${writer}, then ${next}`)
    second.close()
  }
})

test('a write that fails is made later', async () => {
  const { kube, speaker, condition, pass, log } = cluster()
  const conflicts = speaker('a')
  kube.failNext(new KubeError('unreachable', 'away'), { verb: 'patch' })
  conflicts.heard(heard())
  await pass()
  assert.equal(condition(), undefined)
  assert.deepEqual(
    log.lines.map(({ event }) => event),
    ['conflict-condition-failed'],
  )
  await pass(3000)
  assert.equal(condition()?.['status'], 'True')
  conflicts.close()
})
