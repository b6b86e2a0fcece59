import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const FUZZ_FILE = fileURLToPath(new URL('./native-fuzz.js', import.meta.url))
const CALLS = 20_000

for (const seed of [1, 2, Date.now() % 1_000_000]) {
  test(`the addon survives ${CALLS} calls with arguments that make no sense, seed ${seed}`, () => {
    const result = spawnSync(
      'unshare',
      ['-rn', process.execPath, '--enable-source-maps', FUZZ_FILE, String(seed), String(CALLS)],
      { encoding: 'utf8', timeout: 120_000, killSignal: 'SIGKILL' },
    )
    assert.ifError(result.error)
    assert.equal(
      result.status,
      0,
      `seed ${seed} ended with ${result.signal ?? `status ${result.status}`}\n${result.stdout}${result.stderr}`,
    )
    const { returned, threw } = JSON.parse(result.stdout) as { returned: number; threw: number }
    assert.equal(returned + threw, CALLS)
    assert.ok(returned > CALLS / 20, `only ${returned} calls got past the checks`)
    assert.ok(threw > CALLS / 20)
  })
}
