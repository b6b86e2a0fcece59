import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../../addr/ip.ts'
import { podCommand } from './pod-command.ts'
import type { Container, Pod } from './resources.ts'

const POD: Pod = {
  metadata: { name: 'web-1', namespace: 'shop', uid: 'u1', labels: { app: 'web' } },
  spec: { nodeName: 'n1', containers: [] },
}
const PLACEMENT = {
  node: 'n1',
  hostIps: ['192.0.2.1' as Ip],
  podIps: ['198.51.100.2' as Ip, '2001:db8::2' as Ip],
}

const run = (container: Partial<Container>) => podCommand(POD, { name: 'c', ...container }, PLACEMENT)

test('command and args run as given, with variables put in', () => {
  const command = run({
    command: ['sh', '-c'],
    args: ['echo $(GREETING) $(NOBODY) $$(GREETING) $(POD_NAME)'],
    env: [
      { name: 'WHO', value: 'world' },
      { name: 'GREETING', value: 'hello $(WHO)' },
    ],
  })
  assert.ok(command.type === 'run')
  assert.deepEqual(command.argv, ['sh', '-c', 'echo hello world $(NOBODY) $(GREETING) web-1'])
})

test('fields of the pod can be variables', () => {
  const field = (fieldPath: string) => ({ name: fieldPath, valueFrom: { fieldRef: { fieldPath } } })
  const command = run({
    command: ['true'],
    env: [
      'metadata.namespace',
      'spec.nodeName',
      'status.podIPs',
      'status.hostIP',
      "metadata.labels['app']",
    ].map(field),
  })
  assert.ok(command.type === 'run')
  const { env } = command
  assert.equal(env['metadata.namespace'], 'shop')
  assert.equal(env['spec.nodeName'], 'n1')
  assert.equal(env['status.podIPs'], '198.51.100.2,2001:db8::2')
  assert.equal(env['status.hostIP'], '192.0.2.1')
  assert.equal(env["metadata.labels['app']"], 'web')
})

for (const image of [
  'lodestone.dev/lab/web',
  'lodestone.dev/lab/web:1.2',
  'lodestone.dev/lab/web@sha256:00',
]) {
  test(`${image} is the built-in program`, () => {
    const command = run({ image })
    assert.ok(command.type === 'run')
    assert.match(command.argv.at(-1) ?? '', /web\/main\.js$/)
    assert.equal(command.env['NODE_NAME'], 'n1')
  })
}

test('an unknown image without a command cannot run', () => {
  const command = run({ image: 'nginx' })
  assert.ok(command.type === 'refused')
  assert.equal(command.reason, 'ErrImagePull')
})

test('a variable from a Secret is refused, not left empty', () => {
  const command = run({
    command: ['true'],
    env: [{ name: 'TOKEN', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }],
  })
  assert.ok(command.type === 'refused')
  assert.match(command.message, /TOKEN/)
})
