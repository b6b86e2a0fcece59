import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../../addr/ip.ts'
import type { LabNodeStatus, LabStatus } from '../../api/lab.ts'
import type { SpeakerPeer, SpeakerStatus } from '../../api/speaker.ts'
import { notOwned, notWhole, ownersOf, servicesOf } from './observer.ts'

const IP = '192.0.2.100' as Ip
const IP6 = '2001:db8:0:1::100' as Ip
const WEB = { service: 'default/web', ips: [IP, IP6] }

function node(name: string, change: Partial<LabNodeStatus> = {}): LabNodeStatus {
  const speaker = { state: 'running', pid: 7, rssBytes: 1, restarts: 0 } as const
  return { name, ips: [], podCidrs: [], link: 'up', speaker, ...change }
}

const LAB: LabStatus = {
  name: 'x',
  nodes: [node('node1'), node('node2')],
  hosts: [],
  controller: undefined,
  services: [
    {
      namespace: 'default',
      name: 'web',
      type: 'LoadBalancer',
      clusterIps: [],
      externalIps: [IP, IP6],
      owners: [],
    },
    {
      namespace: 'default',
      name: 'kubernetes',
      type: 'ClusterIP',
      clusterIps: [],
      externalIps: [],
      owners: [],
    },
  ],
  pods: [{ namespace: 'default', name: 'web-1', node: 'node1', ips: [], phase: 'Running', ready: true }],
}

function speaker(name: string, owned: readonly string[], change: Partial<SpeakerStatus> = {}): SpeakerStatus {
  return {
    node: name,
    ready: true,
    hasKey: true,
    entitled: true,
    standing: true,
    alone: false,
    round: 1,
    voters: ['node1', 'node2'],
    majority: 2,
    realtime: true,
    worstLatenessMs: 0,
    peers: [peer(name === 'node1' ? 'node2' : 'node1', 'up')],
    services: [
      { service: 'default/web', ips: [IP, IP6], owned, candidates: ['node1', 'node2'], reason: null },
    ],
    moves: [],
    failovers: [],
    ...change,
  }
}

function peer(node: string, status: string): SpeakerPeer {
  return { node, status, voter: true, heardMsAgo: 3, intervalMs: 20, patienceMs: 80, jitterMs: 0 }
}

const SPEAKERS = new Map([
  ['node1', speaker('node1', [IP, IP6])],
  ['node2', speaker('node2', [])],
])

function withSpeaker(
  change: SpeakerStatus | undefined,
  name = 'node2',
): Map<string, SpeakerStatus | undefined> {
  return new Map<string, SpeakerStatus | undefined>([...SPEAKERS, [name, change]])
}

test('a whole lab misses nothing', () => {
  assert.equal(notWhole(LAB), undefined)
  assert.equal(notOwned(servicesOf(LAB), SPEAKERS), undefined)
  assert.deepEqual(servicesOf(LAB), [WEB])
  assert.deepEqual(
    [...ownersOf(SPEAKERS)],
    [
      [IP, ['node1']],
      [IP6, ['node1']],
    ],
  )
})

const BROKEN: readonly [LabStatus, RegExp][] = [
  [{ ...LAB, apiError: 'the API server hangs' }, /^the API server hangs$/],
  [{ ...LAB, nodes: [node('node1', { link: 'cut' })] }, /^the link of node1 is cut$/],
  [{ ...LAB, nodes: [node('node1', { speaker: undefined })] }, /^the speaker of node1 is missing$/],
  [{ ...LAB, pods: LAB.pods.map(pod => ({ ...pod, ready: false })) }, /^Pod default\/web-1 is not ready$/],
]
for (const [status, what] of BROKEN) {
  test(`not whole: ${what.source}`, () => assert.match(notWhole(status) ?? '', what))
}

const service = SPEAKERS.get('node2')?.services[0]
const NOT_OWNED: readonly [Parameters<typeof notOwned>, RegExp][] = [
  [[[WEB], withSpeaker(undefined)], /^the speaker of node2 is not ready$/],
  [[[WEB], withSpeaker(speaker('node2', [], { ready: false }))], /^the speaker of node2 is not ready$/],
  [
    [[WEB], withSpeaker(speaker('node2', [], { peers: [peer('node1', 'down')] }))],
    /^to the speaker of node2, node1 is down$/,
  ],
  [[[{ ...WEB, ips: [] }], SPEAKERS], /^Service default\/web has no address$/],
  [
    [[WEB], withSpeaker(speaker('node2', [], { services: [] }))],
    /^the speaker of node2 does not know the addresses of default\/web$/,
  ],
  [
    [[WEB], withSpeaker(speaker('node2', [], { services: service ? [{ ...service, ips: [IP] }] : [] }))],
    /^the speaker of node2 does not know the addresses of default\/web$/,
  ],
  [
    [
      [WEB],
      withSpeaker(
        speaker('node2', [], {
          services: service ? [{ ...service, candidates: [], reason: 'noEndpoints' }] : [],
        }),
      ),
    ],
    /^nobody announces default\/web: noEndpoints$/,
  ],
  [
    [[WEB], withSpeaker(speaker('node2', [IP]))],
    /^192\.0\.2\.100 of default\/web belongs to node1 and node2, not to node1 alone$/,
  ],
  [
    [[WEB], withSpeaker(speaker('node1', [IP]), 'node1')],
    /^2001:db8:0:1::100 of default\/web belongs to nobody, not to node1 alone$/,
  ],
]
for (const [args, what] of NOT_OWNED) {
  test(`not settled: ${what.source}`, () => assert.match(notOwned(...args) ?? '', what))
}
