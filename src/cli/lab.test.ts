import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LabStatus } from '../api/lab.ts'
import { labCommand, statusText } from './lab.ts'

const STATUS: LabStatus = {
  name: 'default',
  nodes: [
    {
      name: 'node1',
      ips: ['192.0.2.11', '2001:db8:0:1::11'],
      podCidrs: ['10.244.1.0/24'],
      link: 'cut',
      speaker: { state: 'running', pid: 12, rssBytes: 73 * 1024 * 1024, restarts: 2 },
    },
  ],
  hosts: [
    { name: 'switch', role: 'switch', ips: [] },
    { name: 'client1', role: 'client', ips: ['192.0.2.201'] },
  ],
  controller: { state: 'stopped', pid: undefined, rssBytes: undefined, restarts: 0 },
  services: [
    {
      namespace: 'default',
      name: 'web',
      type: 'LoadBalancer',
      clusterIps: ['10.96.0.10'],
      externalIps: ['192.0.2.80'],
      owners: ['node1'],
    },
  ],
  pods: [],
}

test('the status as tables', () => {
  assert.equal(
    statusText(STATUS),
    `NODE   ADDRESSES                    LINK  SPEAKER  MEMORY  RESTARTS
node1  192.0.2.11,2001:db8:0:1::11  cut   running  73 MiB  2

HOST     ADDRESSES
client1  192.0.2.201

controller: stopped, -

SERVICE      TYPE          CLUSTER-IP  EXTERNAL-IP  OWNER
default/web  LoadBalancer  10.96.0.10  192.0.2.80   node1`,
  )
})

test('a broken API is told with what is known without it', () => {
  const text = statusText({ ...STATUS, services: [], apiError: 'no answer within 5 s' })
  assert.match(text, /^node1 /m)
  assert.match(text, /Services and pods are not known: no answer within 5 s$/)
})

test('every command of the lab says what it does', () => {
  const commands = labCommand().commands
  assert.deepEqual(
    commands.map(command => command.name()),
    ['up', 'status', 'exec', 'kubeconfig', 'kubectl', 'kill', 'revive', 'demo', 'down'],
  )
  for (const command of commands) assert.ok(command.description().length > 10)
})
