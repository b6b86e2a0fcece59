import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ManifestError, parseManifests, readManifests } from './manifests.ts'

const POOL = 'apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: NAME}\n'
const pool = (name: string) => POOL.replace('NAME', name)

function stream(...chunks: (Uint8Array | string)[]): AsyncIterable<Uint8Array | string> {
  return (async function* () {
    for (const chunk of chunks) yield await Promise.resolve(chunk)
  })()
}
const names = (objects: readonly { metadata: { name: string } }[]) =>
  objects.map(({ metadata }) => metadata.name)

test('documents of one text, in order; empty ones count for nothing', () => {
  assert.deepEqual(names(parseManifests(`---\n# nothing\n---\n${pool('b')}---\n${pool('a')}---\n`, 'x')), [
    'b',
    'a',
  ])
  assert.deepEqual(parseManifests('', 'x'), [])
})

test('lists are taken apart; items of a typed list need not say what they are', () => {
  const list = {
    apiVersion: 'v1',
    kind: 'List',
    items: [
      { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' } },
      { apiVersion: 'metallb.io/v1beta1', kind: 'IPAddressPoolList', items: [{ metadata: { name: 'p' } }] },
    ],
  }
  assert.deepEqual(
    parseManifests(JSON.stringify(list, null, '\t'), 'x').map(({ apiVersion, kind, metadata }) => [
      apiVersion,
      kind,
      metadata.name,
    ]),
    [
      ['v1', 'Node', 'n'],
      ['metallb.io/v1beta1', 'IPAddressPool', 'p'],
    ],
  )
})

test('communities and merge keys are read as people mean them', () => {
  const text = `${pool('p')}base: &base {a: 64496:10}\nspec: {<<: *base, b: 65535:59}\n`
  assert.deepEqual(parseManifests(text, 'x')[0]?.['spec'], { a: '64496:10', b: '65535:59' })
})

test('an object without metadata has the empty name', () => {
  assert.deepEqual(parseManifests('apiVersion: v1\nkind: Node\n', 'x')[0]?.metadata, { name: '' })
})

const REFUSED: Readonly<Record<string, [text: string, code: string, message: RegExp]>> = {
  'broken YAML': [`${pool('a')}---\nspec: [1, 2\n`, 'not-yaml', /^x\.yaml:\d+: /],
  'broken JSON': ['{"apiVersion": "v1", ', 'not-yaml', /^x\.yaml:\d+: /],
  'plain text': ['hello', 'not-an-object', /^x\.yaml:1: this is no Kubernetes object$/],
  'values of a chart': ['image: x\n', 'not-an-object', /apiVersion or kind is missing/],
  'a list of text': ['apiVersion: v1\nkind: List\nitems: [a]\n', 'not-an-object', /no Kubernetes object/],
  'an alias to nothing': [`${pool('a')}spec: *gone\n`, 'not-yaml', /gone/],
}
for (const [name, [text, code, message]] of Object.entries(REFUSED)) {
  test(`refuses ${name}`, () => {
    assert.throws(() => parseManifests(text, 'x.yaml'), { name: 'ManifestError', code, message })
  })
}

test('directories are read recursively and in order; standard input where it was asked for', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'manifests-'))
  try {
    mkdirSync(join(folder, 'deep', 'er'), { recursive: true })
    mkdirSync(join(folder, '.2024_data'))
    writeFileSync(join(folder, 'b.yml'), pool('b'))
    writeFileSync(join(folder, 'a.yaml'), pool('a'))
    writeFileSync(
      join(folder, 'deep', 'er', 'c.json'),
      '{"apiVersion":"v1","kind":"Node","metadata":{"name":"c"}}',
    )
    writeFileSync(join(folder, 'README.md'), 'not this')
    writeFileSync(join(folder, '.2024_data', 'a.yaml'), pool('a'))
    const bytes = new TextEncoder().encode(`# ü\n${pool('stdin')}`)
    const input = stream(bytes.subarray(0, 3), bytes.subarray(3))
    assert.deepEqual(names(await readManifests([folder, '-', join(folder, 'a.yaml')], input)), [
      'a',
      'b',
      'c',
      'stdin',
      'a',
    ])
    await assert.rejects(readManifests([join(folder, 'gone.yaml')]), {
      code: 'unreadable',
      message: /no such file/,
    })
    mkdirSync(join(folder, 'empty'))
    await assert.rejects(
      readManifests([join(folder, 'empty')]),
      (error: unknown) => error instanceof ManifestError && error.code === 'nothing-found',
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
})
