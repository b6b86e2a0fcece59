import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

const MAIN = new URL('../../src/cli/main.js', import.meta.url).href

/** A speaker in a network namespace of its own, whose API server refuses connections. */
function speaker(t: { after: (fn: () => void) => void }, before: string) {
  const folder = mkdtempSync(join(tmpdir(), 'lodestone-speaker-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const kubeconfig = join(folder, 'config')
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      'current-context': 'x',
      contexts: [{ name: 'x', context: { cluster: 'x', user: 'x' } }],
      clusters: [{ name: 'x', cluster: { server: 'http://127.0.0.1:1' } }],
      users: [{ name: 'x', user: {} }],
    }),
  )
  const script = `import(${JSON.stringify(MAIN)}).then(it => it.main([process.argv[0], 'lodestone', ...process.argv.slice(1)]))`
  const namespaces = process.getuid?.() === 0 ? ['--net'] : ['--user', '--map-root-user', '--net']
  return spawnSync(
    'unshare',
    [
      ...namespaces,
      'sh',
      '-c',
      `ip link set lo up && ${before} "$@"`,
      'sh',
      process.execPath,
      '-e',
      script,
      '--',
      'speaker',
      '--node-name',
      'a',
      '--kubeconfig',
      kubeconfig,
    ],
    { encoding: 'utf8', timeout: 20_000 },
  )
}

test('without CAP_NET_RAW the speaker ends with status 1 and names the capability', t => {
  const { status, stderr } = speaker(t, 'exec setpriv --bounding-set=-net_raw --inh-caps=-net_raw')
  assert.equal(status, 1, stderr)
  assert.match(stderr, /^lodestone: the reflex thread failed: .*CAP_NET_RAW.*$/m)
  assert.doesNotMatch(stderr, /\n\s+at /)
})

test('a heartbeat port in use is said, and the speaker ends', t => {
  // Binds the port, then runs the speaker as its child.
  const holder = `
    const { spawnSync } = require("child_process")
    require("dgram").createSocket("udp4").bind(7946, () => {
      const [program, ...rest] = process.argv.slice(1)
      process.exit(spawnSync(program, rest, { stdio: "inherit", timeout: 15000 }).status ?? 99)
    })`
  const { status, stderr } = speaker(t, `exec ${process.execPath} -e '${holder}' --`)
  assert.equal(status, 1, stderr)
  assert.match(stderr, /^lodestone: the reflex thread failed: .*(EADDRINUSE|address already in use).*$/m)
})
