// The session machine and the outbound view against FRR, BIRD and GoBGP.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { after, afterEach, before, test } from 'node:test'
import type { Ip, Ipv4 } from '../../src/addr/ip.ts'
import type { Prefix } from '../../src/addr/prefix.ts'
import type { Route } from '../../src/bgp/routes.ts'
import type { SessionConfig } from '../../src/bgp/session.ts'
import type { BgpCommunity } from '../../src/config/model.ts'
import { BgpRunner } from './bgp-runner.ts'
import {
  birdShow,
  buildLink,
  frrShow,
  OURS,
  type Router,
  startBird,
  startFrr,
  startGobgp,
  THEIRS,
  waitFor,
} from './routers.ts'
import { outside } from './steering-lab.ts'

const STANDARD: BgpCommunity = { kind: 'standard', text: '64500:100', parts: [64500, 100] }
const LARGE: BgpCommunity = { kind: 'large', text: 'large:64500:1:2', parts: [64500, 1, 2] }

function route(prefix: string, communities: readonly BgpCommunity[] = []): Route {
  return { prefix: prefix as Prefix, communities, localPref: null, services: ['default/web'] }
}

const V4 = '203.0.113.7/32'
const V6 = '2001:db8:f::7/128'
/** What the router has to say itself. */
const OF_ROUTER = { v4: '198.51.100.0/24', v6: '2001:db8:2::/48' }

/** A router that waits for us, and how to look into it. */
type Kind = {
  readonly name: string
  readonly program: string
  start(): Router
  /** Whether it has the prefix; `stale` ones that it only keeps count. */
  has(router: Router, prefix: string): boolean
  /** Everything that it says about the prefix. */
  about(router: Router, prefix: string): string
  /** GoBGP has no order for it: it looks at what it has kept. */
  readonly askAgain?: (router: Router) => void
  shutdown(router: Router): void
}

const FRR: Kind = {
  name: 'FRR',
  program: '/usr/lib/frr/bgpd',
  start: () =>
    startFrr({
      zebra: 'hostname router\n',
      bgpd: `hostname router
log stdout
router bgp 64501
 bgp router-id ${THEIRS.v4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 neighbor ${OURS.v4} remote-as 64500
 neighbor ${OURS.v4} passive
 address-family ipv4 unicast
  network ${OF_ROUTER.v4}
  neighbor ${OURS.v4} soft-reconfiguration inbound
 exit-address-family
 address-family ipv6 unicast
  network ${OF_ROUTER.v6}
  neighbor ${OURS.v4} activate
 exit-address-family
exit
`,
    }),
  has(router, prefix) {
    const family = prefix.includes(':') ? 'ipv6' : 'ipv4'
    const shown = frrShow(router, `show bgp ${family} unicast ${prefix}`) as { paths?: unknown[] }
    return (shown.paths?.length ?? 0) > 0
  },
  about: (router, prefix) =>
    JSON.stringify(frrShow(router, `show bgp ${prefix.includes(':') ? 'ipv6' : 'ipv4'} unicast ${prefix}`)),
  askAgain: router =>
    void router.ask('vtysh', '--vty_socket', router.folder, '-c', `clear bgp ipv6 ${OURS.v4} soft in`),
  shutdown(router) {
    const configure = ['-c', 'configure terminal', '-c', 'router bgp 64501']
    const down = `neighbor ${OURS.v4} shutdown message maintenance`
    router.ask('vtysh', '--vty_socket', router.folder, ...configure, '-c', down)
  },
}

const BIRD: Kind = {
  name: 'BIRD',
  program: '/usr/sbin/bird',
  start: () =>
    startBird(`
protocol static s4 { ipv4; route ${OF_ROUTER.v4} blackhole; }
protocol static s6 { ipv6; route ${OF_ROUTER.v6} blackhole; }
protocol bgp node {
  local ${THEIRS.v4} as 64501; neighbor ${OURS.v4} as 64500; passive on; error wait time 1, 2;
  enable extended messages; graceful restart on;
  ipv4 { import all; export where source = RTS_STATIC; extended next hop on; };
  ipv6 { import all; export where source = RTS_STATIC; };
}`),
  has: (router, prefix) => birdShow(router, 'show', 'route', 'for', prefix).includes(prefix),
  about: (router, prefix) => birdShow(router, 'show', 'route', 'for', prefix, 'all'),
  askAgain: router => birdShow(router, 'reload', 'in', 'node'),
  shutdown: router => birdShow(router, 'disable', 'node', '"maintenance"'),
}

const GOBGP: Kind = {
  name: 'GoBGP',
  program: '/usr/bin/gobgpd',
  start: () =>
    startGobgp(`
[global.config]
  as = 64501
  router-id = "${THEIRS.v4}"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "${OURS.v4}"
    peer-as = 64500
  [neighbors.transport.config]
    passive-mode = true
  [neighbors.timers.config]
    idle-hold-time-after-reset = 1
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = 60
    notification-enabled = true
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
`),
  has: (router, prefix) => GOBGP.about(router, prefix).includes(prefix),
  about(router, prefix) {
    const family = prefix.includes(':') ? 'ipv6' : 'ipv4'
    return router.ask('gobgp', 'global', 'rib', '-a', family, '-j')
  },
  shutdown: router => void router.ask('gobgp', 'neighbor', OURS.v4, 'shutdown', '--reason', 'maintenance'),
}

/** Routers that connect as well, and often. */
const EAGER_FRR = `hostname router
log stdout
router bgp 64501
 bgp router-id ${THEIRS.v4}
 no bgp ebgp-requires-policy
 neighbor ${OURS.v4} remote-as 64500
 neighbor ${OURS.v4} timers connect 1
exit
`
const EAGER_BIRD = `protocol bgp node {
  local ${THEIRS.v4} as 64501; neighbor ${OURS.v4} as 64500;
  connect delay time 1; connect retry time 1; error wait time 1, 1;
  ipv4 { import all; export none; };
}`

if (!outside('BGP with real routers', import.meta.url)) {
  let router: Router
  const runners: BgpRunner[] = []

  before(buildLink)
  afterEach(async () => {
    for (const runner of runners.splice(0)) await runner.stop('shutdown').catch(() => {})
  })

  const connected = async (
    config: Partial<SessionConfig> = {},
    options: ConstructorParameters<typeof BgpRunner>[1] = {},
  ) => {
    const runner = new BgpRunner(config, options)
    runners.push(runner)
    await runner.start()
    try {
      await waitFor('the session', () => runner.state === 'Established', 30_000)
    } catch (error) {
      throw new Error(`${runner.session.lastError}\n${router.log}`, { cause: error })
    }
    return runner
  }

  for (const kind of [FRR, BIRD, GOBGP]) {
    const skip = existsSync(kind.program) ? false : `${kind.program} is not installed`
    test(`${kind.name}: routes of both families arrive with their communities, change and go`, {
      skip,
    }, async () => {
      router = kind.start()
      const runner = await connected()
      runner.announce([route(V4, [STANDARD, LARGE]), route(V6, [STANDARD])], { complete: true })
      await waitFor('IPv4', () => kind.has(router, V4))
      await waitFor('IPv6', () => kind.has(router, V6))
      const about = kind.about(router, V4)
      // GoBGP writes numbers.
      assert.match(about, /64500[:,] ?100|4227072100/)
      assert.match(about, /64500[:,] ?1[:,] ?2|"LocalData1":1,"LocalData2":2/i)
      const before = runner.updatesSent
      runner.announce([route(V6, [STANDARD])])
      await waitFor('withdrawal', () => !kind.has(router, V4))
      assert.equal(runner.updatesSent, before + 1)
      assert(kind.has(router, V6))
      if (kind !== GOBGP) {
        await waitFor('its routes', () => runner.received.has(OF_ROUTER.v4 as Prefix))
        await waitFor('its routes', () => runner.received.has(OF_ROUTER.v6 as Prefix))
        await waitFor('its End-of-RIB', () => runner.endsOfRib.size === 2)
      }
    })

    const { askAgain } = kind
    if (askAgain !== undefined)
      test(`${kind.name}: asks for all routes again`, { skip }, async () => {
        const runner = await connected()
        runner.announce([route(V4), route(V6)], { complete: true })
        await waitFor('IPv6', () => kind.has(router, V6))
        askAgain(router)
        await waitFor('the request', () => runner.refreshed.includes('IPv6'))
        assert.equal(runner.state, 'Established')
        assert(kind.has(router, V4) && kind.has(router, V6))
      })

    test(`${kind.name}: keeps our routes through a restart, and drops what is not told again`, {
      skip,
    }, async () => {
      const first = await connected()
      first.announce([route(V4), route(V6)], { complete: true })
      await waitFor('both', () => kind.has(router, V4) && kind.has(router, V6))
      await first.stop('restart')
      assert.deepEqual(
        first.downs.map(({ routes }) => routes),
        ['kept'],
      )
      assert(kind.has(router, V4) && kind.has(router, V6), 'kept while we are away')
      const second = await connected({}, { restarting: true })
      assert(kind.has(router, V4) && kind.has(router, V6), 'kept until we have said all')
      second.announce([route(V4)], { complete: true })
      await waitFor('the end of the stale one', () => !kind.has(router, V6))
      assert(kind.has(router, V4))
    })

    test(`${kind.name}: drops our routes at once when we shut down`, { skip }, async () => {
      const runner = await connected()
      runner.announce([route(V4)], { complete: true })
      await waitFor('IPv4', () => kind.has(router, V4))
      await runner.stop('shutdown', 'node drained')
      await waitFor('withdrawal', () => !kind.has(router, V4), 5_000)
    })

    test(`${kind.name}: its shutdown comes with a reason`, { skip }, async () => {
      const runner = await connected()
      kind.shutdown(router)
      await waitFor('the end', () => runner.downs.length > 0)
      const [down] = runner.downs
      assert.match(down?.why ?? '', /Administrative Shutdown: "maintenance"/)
      router.close()
    })
  }

  test('10,000 routes arrive at BIRD in a few messages', {
    skip: existsSync(BIRD.program) ? false : 'no BIRD',
  }, async () => {
    router = BIRD.start()
    const runner = await connected()
    const routes = Array.from({ length: 10_000 }, (_, i) => route(`10.0.${i >> 8}.${i & 255}/32`, [STANDARD]))
    runner.announce(routes, { complete: true })
    await waitFor(
      'all',
      () => birdShow(router, 'show', 'route', 'count').includes('10001 of 10001 routes'),
      30_000,
    )
    assert.equal(runner.updatesSent, 3, 'one of 64 KiB, and two ends')
    // A drained node says so (RFC 8326).
    runner.announce(routes.slice(0, 1), { emphasis: { linkBandwidth: 3e6, gracefulShutdown: true } })
    await waitFor('the community', () => BIRD.about(router, '10.0.0.0/32').includes('(65535,0)'))
    // BIRD 2.0 has no name for link bandwidth: 0x4a371b00 is 3,000,000 as a float.
    assert.match(BIRD.about(router, '10.0.0.0/32'), /unknown 0x4, 64500, 1245125376/)
  })

  test('IPv4 over an IPv6 next hop, which BIRD takes (RFC 8950)', {
    skip: existsSync(BIRD.program) ? false : 'no BIRD',
  }, async () => {
    const runner = await connected(
      { extendedNextHop: true },
      { nextHops: { IPv4: { address: OURS.v6 as Ip } } },
    )
    runner.announce([route(V4), route(V6)], { complete: true })
    await waitFor('IPv4', () => BIRD.has(router, V4))
    assert.match(BIRD.about(router, V4), /2001:db8::1/)
    runner.announce([])
    await waitFor('withdrawal', () => !BIRD.has(router, V4))
    router.close()
  })

  test('the wrong AS is refused by both sides', {
    skip: existsSync(BIRD.program) ? false : 'no BIRD',
  }, async () => {
    router = BIRD.start()
    const runner = new BgpRunner({ peerAs: 64511 })
    runners.push(runner)
    await runner.start()
    await waitFor('the refusal', () => runner.session.lastError?.includes('Bad Peer AS'))
    await waitFor('what BIRD says', () => router.log.includes('Bad peer AS'))
    router.close()
  })

  test('a router that hangs is noticed by the hold timer', {
    skip: existsSync(BIRD.program) ? false : 'no BIRD',
  }, async () => {
    router = BIRD.start()
    const runner = await connected({ holdTimeS: 3 })
    router.freeze()
    await waitFor('the end', () => runner.downs.length > 0, 10_000)
    assert.deepEqual(
      runner.downs.map(({ why, sent }) => [why, sent?.code]),
      [['hold timer expired', 4]],
    )
    router.close()
  })

  for (const [kind, start] of [
    [FRR, () => startFrr({ zebra: 'hostname router\n', bgpd: EAGER_FRR })],
    [BIRD, () => startBird(EAGER_BIRD)],
  ] as const) {
    const skip = existsSync(kind.program) ? false : `${kind.program} is not installed`
    test(`${kind.name}: both sides connect at once, and one connection stays`, { skip }, async () => {
      router = start()
      try {
        let collisions = 0
        for (const localIdentifier of ['192.0.2.1', '192.0.2.250'] as Ipv4[]) {
          const runner = await connected({ localIdentifier, gracefulRestart: null }, { crossing: true })
          runner.announce([route(V4)], { complete: true })
          await waitFor('IPv4', () => kind.has(router, V4))
          assert.deepEqual([runner.state, runner.downs], ['Established', []])
          // Which one depends on whether one of them was established before the other's OPEN came.
          assert.equal(runner.session.connections.length, 1)
          collisions += runner.collisions
          await runner.stop('shutdown')
          await waitFor('withdrawal', () => !kind.has(router, V4))
        }
        assert(collisions > 0, 'they met')
      } finally {
        router.close()
      }
    })
  }

  after(() => router.close())
}
