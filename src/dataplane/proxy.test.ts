import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseIp } from '../addr/ip.ts'
import { FakeClock } from '../ports/clock.ts'
import { ConntrackError, FakeConntrack } from '../ports/conntrack.ts'
import { FakeLog } from '../ports/log.ts'
import { FakeNft, NftError } from '../ports/nft.ts'
import { ServiceProxy } from './proxy.ts'
import type { ProxyInput } from './service.ts'

const ip = (text: string) => parseIp(text) ?? assert.fail(text)

function input(...endpoints: string[]): ProxyInput {
  return {
    node: 'n1',
    podPrefixes: [],
    clusterPrefixes: [],
    nodeAddresses: [],
    services: [
      {
        key: 'kube-system/dns',
        clusterIps: [ip('10.96.0.10')],
        externalIps: [],
        externalTrafficPolicy: 'Cluster',
        internalTrafficPolicy: 'Cluster',
        ports: [
          {
            name: 'dns',
            protocol: 'UDP',
            port: 53,
            endpoints: endpoints.map(address => ({
              ip: ip(address),
              port: 53,
              node: 'n1',
              ready: true,
              serving: true,
              terminating: false,
            })),
          },
        ],
      },
    ],
  }
}

function start() {
  const ports = {
    nft: new FakeNft(),
    conntrack: new FakeConntrack(),
    clock: new FakeClock(),
    log: new FakeLog(),
  }
  return { ...ports, proxy: new ServiceProxy(ports) }
}

/** Lets everything run that waits for nothing but promises. */
const turn = () => new Promise<void>(resolve => setImmediate(resolve))
const WHOLE = /^add table ip lodestone-proxy\ndelete table/

test('a burst is one transaction, the first a whole one, the next a delta, and nothing new none', async () => {
  const { proxy, nft, clock } = start()
  proxy.update(input('10.0.0.1'))
  proxy.update(input('10.0.0.2'))
  clock.advance(10)
  await proxy.settled()
  assert.equal(nft.transactions.length, 1)
  assert.match(nft.transactions[0] ?? '', WHOLE)
  assert.match(nft.transactions[0] ?? '', /10\.0\.0\.2/)
  assert.doesNotMatch(nft.transactions[0] ?? '', /10\.0\.0\.1 /)
  proxy.update(input('10.0.0.3'))
  clock.advance(10)
  await proxy.settled()
  assert.equal(nft.transactions.length, 2)
  assert.doesNotMatch(nft.transactions[1] ?? '', /table/)
  proxy.update(input('10.0.0.3'))
  clock.advance(10)
  await proxy.settled()
  assert.equal(nft.transactions.length, 2)
})

test('one transaction at a time: what comes meanwhile waits and is folded', async () => {
  const { proxy, nft, clock } = start()
  let release = () => {}
  let running = 0
  nft.apply = async text => {
    assert.equal(++running, 1)
    nft.transactions.push(text)
    await new Promise<void>(resolve => {
      release = resolve
    })
    running--
  }
  proxy.update(input('10.0.0.1'))
  clock.advance(10)
  proxy.update(input('10.0.0.2'))
  proxy.update(input('10.0.0.3'))
  clock.advance(100)
  assert.equal(nft.transactions.length, 1)
  release()
  await turn()
  clock.advance(10)
  assert.equal(nft.transactions.length, 2)
  assert.match(nft.transactions[1] ?? '', /10\.0\.0\.3/)
  release()
  await proxy.settled()
})

test('after a refusal everything is replaced, later each time', async () => {
  const { proxy, nft, clock, log } = start()
  proxy.update(input('10.0.0.1'))
  clock.advance(10)
  await proxy.settled()
  nft.refuse = new NftError('refused', 'no')
  proxy.update(input('10.0.0.2'))
  for (const wait of [5, 100, 200]) {
    clock.advance(wait)
    await turn()
  }
  assert.deepEqual(
    log.lines.filter(line => line.level === 'error').map(line => line.fields['retryInMs']),
    [100, 200, 400],
  )
  nft.refuse = undefined
  clock.advance(399)
  await turn()
  assert.equal(nft.transactions.length, 1)
  clock.advance(1)
  await proxy.settled()
  assert.equal(nft.transactions.length, 2)
  assert.match(nft.transactions[1] ?? '', WHOLE)
})

const flow = (port: number, endpoint: string) => ({
  protocol: 'UDP' as const,
  originalSource: { ip: ip('10.0.1.1'), port },
  originalDestination: { ip: ip('10.96.0.10'), port: 53 },
  replySource: { ip: ip(endpoint), port: 53 },
})

test('stale flows go: those found at the start, those of an endpoint that left', async () => {
  const { proxy, conntrack, clock } = start()
  conntrack.flows = [flow(1, '10.0.0.1'), flow(2, '10.0.0.9')]
  proxy.update(input('10.0.0.1', '10.0.0.2'))
  clock.advance(10)
  await proxy.settled()
  assert.deepEqual(conntrack.flows, [flow(1, '10.0.0.1')])
  proxy.update(input('10.0.0.2'))
  clock.advance(10)
  await proxy.settled()
  assert.deepEqual(conntrack.flows, [])
})

test('a failing conntrack is tried again without touching the rules; a missing one is said once', async () => {
  const { proxy, nft, conntrack, clock, log } = start()
  conntrack.flows = [flow(1, '10.0.0.9')]
  conntrack.refuse = new ConntrackError('refused', 'busy')
  proxy.update(input('10.0.0.1'))
  clock.advance(10)
  await turn()
  assert.equal(conntrack.flows.length, 1)
  conntrack.refuse = undefined
  clock.advance(100)
  await proxy.settled()
  assert.equal(conntrack.flows.length, 0)
  assert.equal(nft.transactions.length, 1)
  conntrack.refuse = new ConntrackError('not-installed', 'install the package conntrack')
  for (const address of ['10.0.0.2', '10.0.0.3']) {
    proxy.update(input(address))
    clock.advance(10)
    await proxy.settled()
  }
  assert.equal(nft.transactions.length, 3)
  assert.equal(log.lines.filter(line => line.event === 'conntrack-missing').length, 1)
})

test('closing leaves the rules, or removes them, and ends the wait of others', async () => {
  for (const remove of [false, true]) {
    const { proxy, nft, clock } = start()
    proxy.update(input('10.0.0.1'))
    const settled = proxy.settled()
    await proxy.close({ remove })
    await settled
    proxy.update(input('10.0.0.2'))
    clock.advance(1000)
    await turn()
    assert.equal(nft.transactions.length, remove ? 1 : 0)
    if (remove) assert.match(nft.transactions[0] ?? '', /delete table ip6 lodestone-proxy\n$/)
  }
})
