// Every rule that MetalLB's behaviour was numbered by has a test whose name starts with it, or a reason why not.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const ROOT = new URL('../../../', import.meta.url)

/** What the letters stand for, and which numbers there are. */
const RULES = {
  /** Configuration and its validation. */
  V: [...range(1, 5), ...range(10, 28), ...range(30, 36), 40, 41, 42, 50, 51],
  /** The reconciler as a whole. */
  R: range(1, 9),
  /** The controller's steps for one Service. */
  C: range(1, 15),
  /** Allocation. */
  A: [...range(1, 11), 20, 21],
  /** Sharing of addresses. */
  S: range(1, 10),
  /** The layer 2 election. */
  L: range(1, 11),
  /** What is announced by BGP. */
  B: range(1, 12),
  /** Quirks: kept up to 14, not kept from 20 on, notes for who replaces MetalLB from 40 on. */
  Q: [...range(1, 14), ...range(20, 36), ...range(40, 42)],
} as const

/** Rules that are of no concern here, with the reason. */
const NOT_OURS: Readonly<Record<string, string>> = {
  'R-3':
    'a pass cannot fail: it decides for all Services at once, and a failed write is repeated for its own object',
  'L-10':
    'a weakness and no rule: two owners notice each other on the wire, which src/layer2/machine.test.ts shows',
  'Q-31':
    'a fault of an alert rule about BGP sessions: no alert rules are shipped, and there are no sessions',
  'Q-33': 'a fault of the Helm chart: none is shipped, and no manifest that runs a speaker',
  'Q-40': "not spoken: the speakers' heartbeats are a protocol of their own, with tests in src/membership",
  'Q-41': 'about FRR and its FRRConfiguration objects: neither is used or written',
  'Q-42':
    'about Node and not about MetalLB: raw sockets come from the addon in native/, which test/netns/ tries',
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index)
}

function testSources(): string[] {
  return ['src', 'test'].flatMap(folder =>
    readdirSync(new URL(`${folder}/`, ROOT), { recursive: true })
      .map(String)
      .filter(name => name.endsWith('.test.ts'))
      .map(name => readFileSync(new URL(`${folder}/${name}`, ROOT), 'utf8')),
  )
}

/** Rules at the start of test names: of calls of test(), and of the keys of tables that make such calls. */
function rulesIn(source: string): string[] {
  const calls = source.matchAll(/\btest\(\s*(['"`])([A-Z]-\d+)\b/g)
  const keys = source.matchAll(/^\s*(['"])([A-Z]-\d+)\b[^\n]*\1: [{[]/gm)
  return [...calls, ...keys].map(match => match[2] ?? '')
}

test('the names of tests are found where they stand', () => {
  const source = [
    "test('A-1 one', () => {})",
    'test(`A-2 ${two}`, () => {})',
    "test(\n  'A-3 three',",
    "  'A-4 four': {",
    "// test('see A-5')",
    "  'A-7 seven',",
    "assert.equal(x, 'A-6 six')",
  ].join('\n')
  assert.deepEqual(rulesIn(source), ['A-1', 'A-2', 'A-3', 'A-4'])
})

test('no rule is without a test', () => {
  const sources = testSources()
  assert.ok(sources.length > 80, `only ${sources.length} files of tests were found`)
  const covered = new Set(sources.flatMap(rulesIn))
  const all = Object.entries(RULES).flatMap(([letter, numbers]) =>
    numbers.map(number => `${letter}-${number}`),
  )
  assert.ok(all.length > 100)
  assert.deepEqual(
    all.filter(rule => !covered.has(rule) && NOT_OURS[rule] === undefined),
    [],
    'these rules have no test',
  )
  assert.deepEqual(
    Object.keys(NOT_OURS).filter(rule => covered.has(rule) || !all.includes(rule)),
    [],
    'these are said to be of no concern, and yet have a test, or do not exist',
  )
})
