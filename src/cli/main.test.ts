import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { integer } from './flags.ts'

/** The command line in a process of its own: it sets the exit status and writes to the terminal. */
function lodestone(argv: readonly string[], environment: Record<string, string> = {}) {
  const entry = fileURLToPath(new URL('./main-for-tests.js', import.meta.url))
  const { status, stdout, stderr } = spawnSync(process.execPath, [entry, ...argv], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...environment },
    timeout: 30_000,
  })
  return { status, stdout, stderr }
}

test('--version says the version, --help the commands', () => {
  const version = lodestone(['--version'])
  assert.equal(version.status, 0)
  assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/)
  const help = lodestone(['--help'])
  assert.equal(help.status, 0)
  for (const command of ['controller', 'lab', 'speaker'])
    assert.match(help.stdout, new RegExp(`^  ${command}`, 'm'))
})

for (const [what, argv, said] of [
  ['an unknown command', ['speeker'], /unknown command 'speeker'.*\n.*speaker/],
  ['an unknown option', ['speaker', '--node-name', 'a', '--fast'], /unknown option '--fast'/],
  ['a missing option', ['speaker'], /required option '--node-name <name>' not specified/],
  [
    'a number out of range',
    ['speaker', '--node-name', 'a', '--ml-bindport', '99999'],
    /A whole number from 1 to 65535 is needed/,
  ],
  ['an unknown level', ['controller', '--log-level', 'loud'], /Allowed choices are debug, info, warn, error/],
] as const) {
  test(`${what} is exit status 2 and says what is wrong`, () => {
    const { status, stderr } = lodestone(argv)
    assert.equal(status, 2, stderr)
    assert.match(stderr, said)
  })
}

test('a failure is one sentence and exit status 1; LODESTONE_DEBUG shows where', () => {
  const argv = ['speaker', '--node-name', 'a', '--kubeconfig', '/nonexistent/config']
  const plain = lodestone(argv)
  assert.equal(plain.status, 1)
  assert.match(plain.stderr, /^lodestone: .*\/nonexistent\/config.*\n$/)
  const debug = lodestone(argv, { LODESTONE_DEBUG: '1' })
  assert.equal(debug.status, 1)
  assert.match(debug.stderr, /\n\s+at /)
})

test('whole numbers within their range, nothing else', () => {
  const parse = integer(10, 20)
  assert.deepEqual(['10', '020', '20'].map(parse), [10, 20, 20])
  for (const text of ['9', '21', '', ' 10', '1e1', '0x10', '-10', '10.0', 'ten']) {
    assert.throws(() => parse(text), /from 10 to 20/, text)
  }
})
