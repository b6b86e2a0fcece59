import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '../ports/kube.ts'
import { LAYER2_MODE_ANNOTATION } from './layer2-mode.ts'
import { parseConfig } from './parse.ts'
import { serviceFromObject } from './services.ts'

const annotated = (value: unknown) => ({ annotations: { [LAYER2_MODE_ANNOTATION]: value } })

function parsed(metadata: Record<string, unknown>) {
  const object = {
    metadata: { name: 'lan', namespace: 'metallb-system', ...metadata },
  } as unknown as KubeObject
  const result = parseConfig({ pools: [], l2Advertisements: [object], nodes: [], namespaces: [] })
  assert.ok('config' in result)
  return { mode: result.config.l2Advertisements[0]?.mode, warnings: result.warnings }
}

test('an advertisement says how its addresses are answered for', () => {
  assert.equal(parsed(annotated('sharded')).mode, 'sharded')
  assert.equal(parsed(annotated('single')).mode, 'single')
  assert.equal(parsed({}).mode, undefined)
})

test('an unknown mode is a warning about that advertisement, and refuses nothing', () => {
  const { mode, warnings } = parsed(annotated('shared'))
  assert.equal(mode, undefined)
  const [warning] = warnings.filter(({ code }) => code === 'layer2-mode-unknown')
  assert.deepEqual(
    [warning?.severity, warning?.object.kind, warning?.object.name, warning?.field],
    ['warning', 'L2Advertisement', 'lan', 'metadata.annotations[lodestone.dev/layer2-mode]'],
  )
  assert.match(warning?.message ?? '', /is "shared": it must be single or sharded/)
  assert.equal(parsed(annotated('sharded')).warnings.length, parsed({}).warnings.length)
})

test('a Service keeps what its annotation says as written', () => {
  const of = (metadata: Record<string, unknown>) =>
    serviceFromObject({
      metadata: { name: 'web', namespace: 'default', ...metadata },
    }).annotations
  assert.equal(of(annotated('sharded')).layer2Mode, 'sharded')
  assert.equal(of(annotated('what')).layer2Mode, 'what')
  assert.equal(Object.hasOwn(of({}), 'layer2Mode'), false)
})
