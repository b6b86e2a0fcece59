import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../../addr/ip.ts'
import { type ContainerView, type PodView, podStatus } from './pod-status.ts'
import { type ContainerState, conditionOf, type Pod, type PodPhase } from './resources.ts'

const POD: Pod = { metadata: { name: 'p', namespace: 'default' }, spec: { containers: [] } }
const NOW = '2026-01-01T00:00:10Z'

function container(state: ContainerState, rest: Partial<ContainerView> = {}): ContainerView {
  return {
    name: 'c',
    image: 'i',
    pid: undefined,
    state,
    lastState: {},
    restartCount: 0,
    started: false,
    ready: false,
    restarts: true,
    ...rest,
  }
}

function view(...containers: ContainerView[]): PodView {
  return { startTime: NOW, hostIps: ['192.0.2.1' as Ip], podIps: ['198.51.100.2' as Ip], containers }
}

const RUNNING: ContainerState = { running: { startedAt: NOW } }
const WAITING: ContainerState = { waiting: { reason: 'ContainerCreating' } }
const ended = (exitCode: number): ContainerState => ({
  terminated: { exitCode, reason: 'x', startedAt: NOW, finishedAt: NOW },
})

const PHASES: [string, ContainerView[], PodPhase][] = [
  ['nothing started yet', [container(WAITING)], 'Pending'],
  ['one of two started', [container(RUNNING), container(WAITING)], 'Pending'],
  ['running', [container(RUNNING)], 'Running'],
  ['in back-off', [container(WAITING, { lastState: ended(1) })], 'Running'],
  ['ended, to be restarted', [container(ended(1))], 'Running'],
  ['ended well for good', [container(ended(0), { restarts: false })], 'Succeeded'],
  [
    'ended badly for good',
    [container(ended(0), { restarts: false }), container(ended(2), { restarts: false })],
    'Failed',
  ],
]
for (const [what, containers, phase] of PHASES) {
  test(`phase of a pod that is ${what}`, () => {
    assert.equal(podStatus(POD, view(...containers), NOW).phase, phase)
  })
}

test('ready when all containers are', () => {
  const ready = container(RUNNING, { ready: true, started: true })
  const one = podStatus(POD, view(ready, container(RUNNING, { name: 'd' })), NOW)
  assert.equal(conditionOf(one.conditions, 'Ready')?.status, 'False')
  assert.match(conditionOf(one.conditions, 'Ready')?.message ?? '', /\[d\]/)
  assert.equal(conditionOf(podStatus(POD, view(ready), NOW).conditions, 'Ready')?.status, 'True')
})

test('a condition keeps its transition time while its status stays', () => {
  const first = podStatus(POD, view(container(RUNNING)), NOW)
  const later = podStatus(
    { ...POD, status: first },
    view(container(RUNNING, { ready: true })),
    '2026-01-01T00:01:00Z',
  )
  assert.equal(conditionOf(later.conditions, 'PodScheduled')?.lastTransitionTime, NOW)
  assert.equal(conditionOf(later.conditions, 'Ready')?.lastTransitionTime, '2026-01-01T00:01:00Z')
})

test('addresses are told once the pod has them', () => {
  const status = podStatus(POD, view(container(RUNNING)), NOW)
  assert.equal(status.podIP, '198.51.100.2')
  assert.deepEqual(status.podIPs, [{ ip: '198.51.100.2' }])
  assert.equal(status.hostIP, '192.0.2.1')
  assert.equal('podIP' in podStatus(POD, { ...view(container(WAITING)), podIps: [] }, NOW), false)
})
