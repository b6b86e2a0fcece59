import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { NAMES, UNPRIVILEGED } from './native-cases.ts'

const CASES_FILE = fileURLToPath(new URL('./native-cases.js', import.meta.url))

// Each case has its own user, network and mount namespace, which go away with its process.
for (const name of NAMES) {
  test(name, () => {
    const drop = UNPRIVILEGED.has(name) ? ['setpriv', '--bounding-set', '-all', '--inh-caps', '-all'] : []
    const command = ['-rnm', ...drop, process.execPath, '--enable-source-maps', CASES_FILE, name]
    const result = spawnSync('unshare', command, { encoding: 'utf8', timeout: 60_000, killSignal: 'SIGKILL' })
    assert.ifError(result.error)
    assert.equal(
      result.status,
      0,
      `ended with ${result.signal ?? `status ${result.status}`}\n${result.stdout}${result.stderr}`,
    )
    assert.match(result.stdout, /ok\n$/, 'the case ended before its last line: nothing kept it alive')
  })
}
