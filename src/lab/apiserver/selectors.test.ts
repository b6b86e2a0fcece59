import assert from 'node:assert/strict'
import { test } from 'node:test'
import { POD } from './kinds/pod.ts'
import { matchesLabels, parseFieldSelector, parseLabelSelector, selectorText } from './selectors.ts'

const LABELS = { app: 'web', tier: 'front', empty: '', 'example.com/size': '7' }
for (const [selector, expected] of [
  ['', true],
  ['app=web', true],
  ['app==web,tier=front', true],
  ['app = web , tier in (front, back)', true],
  ['app=other', false],
  ['app!=web', false],
  ['missing!=x', true],
  ['app in (web,api)', true],
  ['app notin (web)', false],
  ['missing notin (web)', true],
  ['missing in (web)', false],
  ['app', true],
  ['missing', false],
  ['!missing', true],
  ['!app', false],
  ['empty=', true],
  ['app=', false],
  ['empty in (,x)', true],
  ['example.com/size>6', true],
  ['example.com/size<7', false],
] as const) {
  test(`label selector ${JSON.stringify(selector)} is ${expected}`, () => {
    assert.equal(parseLabelSelector(selector)(LABELS), expected)
  })
}

for (const selector of [
  'app=web,',
  ',',
  'app in',
  'app in (',
  'app in web',
  '=x',
  'a b',
  '!',
  'a==b=c',
  '(',
]) {
  test(`label selector ${JSON.stringify(selector)} is refused`, () => {
    assert.throws(() => parseLabelSelector(selector), { name: 'ApiError', code: 400 })
  })
}

test('field selectors read what the kind indexes, and nothing else', () => {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'd' },
    spec: { nodeName: 'n1' },
    status: { phase: 'Running' },
  }
  assert.equal(parseFieldSelector('spec.nodeName=n1,status.phase!=Failed', POD)(pod), true)
  assert.equal(parseFieldSelector('metadata.name==q', POD)(pod), false)
  assert.equal(parseFieldSelector('metadata.namespace=d', POD)(pod), true)
  assert.throws(() => parseFieldSelector('spec.hostname=x', POD), { code: 400 })
  assert.throws(() => parseFieldSelector('nonsense', POD), { code: 400 })
})

test('metav1.LabelSelector', () => {
  const selector = {
    matchLabels: { app: 'web' },
    matchExpressions: [
      { key: 'tier', operator: 'In', values: ['front'] },
      { key: 'x', operator: 'DoesNotExist' },
      { key: 'tier', operator: 'NotIn', values: ['back'] },
      { key: 'empty', operator: 'Exists' },
    ],
  }
  assert.equal(matchesLabels(selector, LABELS), true)
  assert.equal(matchesLabels(selector, { ...LABELS, x: '' }), false)
  assert.equal(matchesLabels({ matchExpressions: [{ key: 'app', operator: 'Bogus' }] }, LABELS), false)
  const text = selectorText(selector)
  assert.equal(text, 'app=web,tier in (front),!x,tier notin (back),empty')
  assert.equal(parseLabelSelector(text)(LABELS), true)
})
