// The service proxy in real namespaces with real connections. The file runs itself again inside private network, mount and process
// namespaces, with a user namespace too when it is not root, so that nothing of it can stay behind.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { plan } from '../../src/dataplane/plan.ts'
import type { ProxyService } from '../../src/dataplane/service.ts'
import { wantedState } from '../../src/dataplane/tables.ts'
import {
  buildTopology,
  CLIENT,
  inputOf,
  inside,
  ip,
  NODES,
  type NodeProxy,
  nodeAddress,
  nodeProxy,
  PODS,
  podAddress,
  prefix,
  service,
  startPods,
  stopChildren,
  stream,
  talker,
  tcp,
  udp,
} from './service-proxy-lab.ts'

const INSIDE = 'LODESTONE_INSIDE_NAMESPACES'

if (process.env[INSIDE] === undefined) {
  test('service proxy, inside namespaces', () => {
    const root = process.getuid?.() === 0
    const user = root ? [] : ['--user', '--map-root-user']
    // /run as a whole: without root nobody may create /run/netns in the one that is there.
    const script = 'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$@"'
    const node = [
      process.execPath,
      '--enable-source-maps',
      '--test-reporter=spec',
      fileURLToPath(import.meta.url),
    ]
    const { NODE_TEST_CONTEXT: _, ...environment } = process.env
    const result = spawnSync(
      'unshare',
      [...user, '--net', '--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', script, 'sh', ...node],
      {
        encoding: 'utf8',
        env: { ...environment, [INSIDE]: root ? 'as root' : 'as a user' },
        timeout: 240_000,
      },
    )
    assert.equal(result.status, 0, `${String(result.error ?? '')}\n${result.stdout}\n${result.stderr}`)
    assert.match(result.stdout, /pass [1-9]\d/, 'the tests ran')
  })
} else {
  const nodes = {} as Record<(typeof NODES)[number], NodeProxy>

  before(async () => {
    buildTopology()
    for (const node of NODES) nodes[node] = nodeProxy(node)
    await startPods()
  })
  after(() => stopChildren())

  const install = async (...services: ProxyService[]) => {
    for (const node of NODES) nodes[node].proxy.update(inputOf(node, services))
    const state = { done: false }
    const settled = Promise.all(NODES.map(node => nodes[node].proxy.settled())).then(() => {
      state.done = true
    })
    // A proxy tries for ever; the first failure ends the test.
    while (!state.done) {
      for (const node of NODES) {
        const failures = nodes[node].log.lines.filter(line => line.level === 'error' || line.level === 'warn')
        assert.deepEqual(failures, [])
      }
      await Promise.race([settled, new Promise(resolve => setTimeout(resolve, 20))])
    }
  }
  const pods = (results: readonly string[]) =>
    [...new Set(results.map(text => text.split(' ')[0] ?? ''))].sort()
  const sources = (results: readonly string[]) =>
    [...new Set(results.map(text => text.split(' ')[1] ?? ''))].sort()

  for (const [family, vip, via, pod] of [
    ['v4', '203.0.113.1', nodeAddress('n1').v4, podAddress('p11').v4],
    ['v6', '2001:db8:f::1', nodeAddress('n1').v6, podAddress('p11').v6],
  ] as const) {
    test(`${family}: an address under Cluster reaches every pod evenly, masqueraded`, async () => {
      await install(service(1, PODS))
      const results = await tcp('client', vip, 80, 320)
      assert.deepEqual(pods(results), [...PODS])
      assert.deepEqual(sources(results), [via])
      for (const name of PODS) {
        // 80 expected, standard deviation 7.7: six of them to either side.
        const share = results.filter(text => text.startsWith(name)).length
        assert.ok(share > 33 && share < 127, `${name} got ${share} of 320`)
      }
      const [name = '', source] = (await udp('client', vip, 80)).split(' ')
      assert.ok((PODS as readonly string[]).includes(name), name)
      assert.equal(source, via)
    })

    test(`${family}: Local keeps the client's address and stays on the node`, async () => {
      await install(service(1, PODS, { externalTrafficPolicy: 'Local' }))
      const results = await tcp('client', vip, 80, 40)
      assert.deepEqual(pods(results), ['p11', 'p12'])
      assert.deepEqual(sources(results), [CLIENT[family]])
      assert.match(await udp('client', vip, 80), new RegExp(`^p1[12] ${CLIENT[family]}$`))
    })

    test(`${family}: Local without a local endpoint drops strangers, serves the node and its pods`, async () => {
      await install(service(1, ['p21'], { externalTrafficPolicy: 'Local' }))
      assert.deepEqual(await tcp('client', vip, 80), ['TIMEOUT'])
      assert.deepEqual(await tcp('p11', vip, 80), [`p21 ${pod}`])
      assert.deepEqual(await tcp('n1', vip, 80), [`p21 ${via}`])
    })

    test(`${family}: no endpoint at all is refused, and so is a port that no Service has`, async () => {
      await install(service(1, []), service(2, PODS))
      assert.deepEqual(await tcp('client', vip, 80), ['ECONNREFUSED'])
      assert.equal(await udp('client', vip, 80), 'ECONNREFUSED')
      assert.deepEqual(await tcp('p11', vip, 80), ['ECONNREFUSED'])
      assert.deepEqual(await tcp('n1', vip, 80), ['ECONNREFUSED'])
      assert.deepEqual(await tcp('client', vip.replace(/1$/, '2'), 81), ['ECONNREFUSED'])
    })

    test(`${family}: a node port answers on the node's address`, async () => {
      await install(
        service(1, ['p21'], { nodePort: 30080 }),
        service(2, ['p12'], { nodePort: 30081, externalTrafficPolicy: 'Local' }),
      )
      assert.deepEqual(await tcp('client', via, 30080), [`p21 ${via}`])
      assert.deepEqual(await tcp('n1', via, 30080), [`p21 ${via}`])
      assert.deepEqual(await tcp('client', via, 30081), [`p12 ${CLIENT[family]}`])
      assert.deepEqual(await tcp('client', nodeAddress('n2')[family], 30081), ['TIMEOUT'])
    })

    test(`${family}: inside the cluster pods keep their address, and reach themselves`, async () => {
      await install(service(1, ['p21']), service(2, ['p11']))
      const inner = family === 'v4' ? '10.96.0.' : 'fd00:96::'
      assert.deepEqual(await tcp('p11', `${inner}1`, 80), [`p21 ${pod}`])
      assert.deepEqual(await tcp('n1', `${inner}1`, 80), [`p21 ${via}`])
      // Hairpin: the answer must come back through the node, so the pod sees the node.
      for (const address of [`${inner}2`, vip.replace(/1$/, '2')]) {
        const results = await tcp('p11', address, 80, 8)
        assert.deepEqual(pods(results), ['p11'])
        assert.deepEqual(sources(results), [via])
      }
      assert.match(await udp('p11', `${inner}2`, 80), new RegExp(`^p11 ${via}$`))
    })

    test(`${family}: source ranges guard the external address only`, async () => {
      const range = family === 'v4' ? `${CLIENT.v4}/32` : '2001:db8::/64'
      const elsewhere = family === 'v4' ? '198.51.100.0/24' : '2001:db8:5::/48'
      await install(
        service(1, ['p11'], { sourceRanges: [prefix(range), prefix(elsewhere)] }),
        service(2, ['p11'], { sourceRanges: [prefix(elsewhere)] }),
      )
      assert.deepEqual(pods(await tcp('client', vip, 80)), ['p11'])
      assert.deepEqual(await tcp('client', vip.replace(/1$/, '2'), 80), ['TIMEOUT'])
      assert.deepEqual(pods(await tcp('p12', family === 'v4' ? '10.96.0.2' : 'fd00:96::2', 80)), ['p11'])
    })

    test(`${family}: affinity keeps a client on its pod, also when others come and go`, async () => {
      const addresses = Array.from({ length: 8 }, (_, i) =>
        family === 'v4' ? `192.0.2.${150 + i}` : `2001:db8::15${i}`,
      )
      for (const address of addresses) {
        inside(
          'client',
          'ip',
          'addr',
          'add',
          `${address}/${family === 'v4' ? 24 : 64}`,
          'dev',
          'eth0',
          ...(family === 'v6' ? ['nodad'] : []),
        )
      }
      const sticky = { sessionAffinityTimeoutSeconds: 600 }
      await install(service(1, ['p11', 'p12', 'p21'], sticky))
      const chosen = new Map<string, string>()
      for (const address of addresses) {
        const results = pods(await tcp('client', vip, 80, 8, address))
        assert.equal(results.length, 1, `${address} went to ${results.join()}`)
        chosen.set(address, results[0] ?? '')
      }
      await install(service(1, ['p12', 'p21', 'p22'], sticky))
      for (const [address, pod] of chosen) {
        const now = pods(await tcp('client', vip, 80, 4, address))
        if (pod === 'p11') assert.ok(now.length === 1 && now[0] !== 'p11', now.join())
        else assert.deepEqual(now, [pod])
      }
      // Under Local only what is here may be remembered.
      await install(service(1, ['p12', 'p21', 'p22'], { ...sticky, externalTrafficPolicy: 'Local' }))
      for (const address of addresses)
        assert.deepEqual(await tcp('client', vip, 80, 1, address), [`p12 ${address}`])
      for (const address of addresses) {
        inside('client', 'ip', 'addr', 'del', `${address}/${family === 'v4' ? 24 : 64}`, 'dev', 'eth0')
      }
    })
  }

  test('affinity ends after its time', async () => {
    await install(service(9, PODS, { sessionAffinityTimeoutSeconds: 1 }))
    const remembered = () =>
      inside('n1', 'nft', 'list', 'set', 'ip', 'lodestone-proxy', 'affinity').includes('203.0.113.9')
    await tcp('client', '203.0.113.9', 80)
    assert.ok(remembered())
    const deadline = Date.now() + 10_000
    while (remembered()) {
      assert.ok(Date.now() < deadline, 'still remembered')
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  })

  test('internalTrafficPolicy Local: the pods of this node only', async () => {
    const local = { internalTrafficPolicy: 'Local' } as const
    await install(service(1, PODS, local), service(2, ['p21'], local))
    assert.deepEqual(pods(await tcp('p11', '10.96.0.1', 80, 40)), ['p11', 'p12'])
    assert.deepEqual(await tcp('p11', '10.96.0.2', 80), ['TIMEOUT'])
    assert.deepEqual(pods(await tcp('client', '203.0.113.2', 80)), ['p21'])
  })

  test('an ICMP error of a pod comes back as one of the address', async () => {
    await install(service(1, ['p21'], { targetPort: 9 }))
    assert.equal(await udp('client', '203.0.113.1', 80), 'ECONNREFUSED')
    assert.equal(await udp('client', '2001:db8:f::1', 80), 'ECONNREFUSED')
    assert.equal(await udp('p11', '10.96.0.1', 80), 'ECONNREFUSED')
  })

  test('a UDP flow moves when its endpoint goes, appears, and goes for good', async () => {
    for (const vip of ['203.0.113.1', '2001:db8:f::1']) {
      await install()
      const conversation = talker('client', vip, 80)
      try {
        assert.equal(await conversation.say(), 'TIMEOUT', 'nobody serves it yet')
        await install(service(1, ['p21']))
        assert.match(await conversation.say(), /^p21 /)
        await install(service(1, ['p21', 'p22', 'p12']))
        assert.match(await conversation.say(), /^p21 /, 'a living endpoint keeps its flows')
        await install(service(1, ['p12']))
        assert.match(await conversation.say(), /^p12 /)
        // A restarted proxy does not know what its predecessor had installed.
        for (const node of NODES) {
          await nodes[node].proxy.close({ remove: false })
          nodes[node] = nodeProxy(node)
        }
        await install(service(1, ['p22']))
        assert.match(await conversation.say(), /^p22 /)
      } finally {
        conversation.end()
      }
    }
  })

  test('a thousand services are one transaction, and one endpoint more is a few lines', async () => {
    // Without root over the whole machine a transaction must fit into a socket buffer that nft may not widen.
    const count = process.env[INSIDE] === 'as root' ? 1000 : 200
    const many = Array.from({ length: count }, (_, i) => ({
      ...service(1, ['p11', 'p12', 'p21']),
      key: `many/s${i}`,
      clusterIps: [ip(`10.97.${i >> 8}.${i & 255}`), ip(`fd00:97::${i.toString(16)}`)],
      externalIps: [],
    }))
    const { nft } = nodes.n1
    await install(service(1, PODS))
    const before = nft.transactions.length
    await install(service(1, PODS), ...many)
    assert.equal(nft.transactions.length, before + 1)
    assert.deepEqual(pods(await tcp('p11', `10.97.${(count - 1) >> 8}.${(count - 1) & 255}`, 80, 20)), [
      'p11',
      'p12',
      'p21',
    ])
    assert.deepEqual(pods(await tcp('p11', `fd00:97::${(count - 1).toString(16)}`, 80, 20)), [
      'p11',
      'p12',
      'p21',
    ])
    await install(service(1, ['p11', 'p21', 'p22']), ...many)
    const last = nft.transactions.at(-1) ?? ''
    assert.ok(last.split('\n').length < 20 && last.length < 4000, last.slice(0, 4000))
    // The same as one whole replacement, by a proxy that knows of nothing.
    await nodes.n1.proxy.close({ remove: false })
    nodes.n1 = nodeProxy('n1')
    await install(service(1, PODS), ...many)
    assert.equal(nodes.n1.nft.transactions.length, 1)
    assert.deepEqual(pods(await tcp('p11', `10.97.${(count - 1) >> 8}.${(count - 1) & 255}`, 80, 20)), [
      'p11',
      'p12',
      'p21',
    ])
  })

  test('applied changes leave what a whole replacement would', async () => {
    const { nft } = nodes.n2
    const local = { externalTrafficPolicy: 'Local' } as const
    const sequence: ProxyService[][] = [
      [service(1, ['p11', 'p21']), service(2, ['p22'], local)],
      [service(1, ['p21']), service(2, ['p22', 'p21'], { ...local, nodePort: 30001 })],
      [service(1, [], { sessionAffinityTimeoutSeconds: 5 }), service(2, ['p22'])],
      [service(1, PODS, { sessionAffinityTimeoutSeconds: 5 }), service(3, ['p11'], local)],
      [
        service(1, ['p12', 'p22'], { ...local, sessionAffinityTimeoutSeconds: 7 }),
        service(3, ['p22'], {
          sourceRanges: [prefix('10.0.0.0/8'), prefix('10.1.0.0/16'), prefix('fd00::/8')],
        }),
      ],
      [
        service(3, ['p22'], { sourceRanges: [prefix('10.1.0.0/16'), prefix('11.0.0.0/8')] }),
        service(2, ['p11'], { internalTrafficPolicy: 'Local' }),
      ],
      [],
    ]
    const installed = async () => {
      const texts = await Promise.all(
        (['ip', 'ip6'] as const).map(family => nft.listTable(family, 'lodestone-proxy')),
      )
      assert.ok(texts.every(text => text?.includes('chain prerouting')))
      return texts
        .join('\n')
        .split(/[,\n{}]/)
        .map(part => part.trim())
        .sort()
    }
    await nft.apply(plan(wantedState(inputOf('n2', [])), undefined).transaction)
    let observed = wantedState(inputOf('n2', []))
    for (const services of [...sequence, ...sequence.toReversed()]) {
      const wanted = wantedState(inputOf('n2', services))
      const { transaction } = plan(wanted, observed)
      if (transaction !== '') await nft.apply(transaction)
      const byDelta = await installed()
      await nft.apply(plan(wanted, undefined).transaction)
      assert.deepEqual(byDelta, await installed())
      observed = wanted
    }
    // The proxy of this node has been written over.
    nodes.n2 = nodeProxy('n2')
  })

  test('no datagram is lost while the tables are replaced', async () => {
    const services = [service(1, PODS)]
    await install(...services)
    const [one, other] = [services, [...services, service(2, ['p11'])]].map(
      list => plan(wantedState(inputOf('n1', list)), undefined).transaction,
    )
    const { sent, answered } = await stream('client', '203.0.113.1', 80, async () => {
      for (let i = 0; i < 20; i++) await nodes.n1.nft.apply((i % 2 === 0 ? other : one) ?? '')
    })
    assert.ok(sent > 100, `only ${sent} sent`)
    assert.equal(answered, sent)
  })

  test('removal takes the tables away and nothing else', async () => {
    await install(service(1, PODS))
    inside('n1', 'nft', 'add table ip other; add table inet other')
    await nodes.n1.proxy.close({ remove: true })
    const left = inside('n1', 'nft', 'list', 'tables').trim().split('\n').sort()
    assert.deepEqual(left, ['table inet other', 'table ip other'])
    const again = nodeProxy('n1')
    await again.proxy.close({ remove: true })
  })
}
