import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { LabState } from './state.ts'
import { claimLab, identify, isAlive, labPaths, pathsIn, readState, signal, writeState } from './state.ts'

const scratch = mkdtempSync(join(tmpdir(), 'lodestone-state-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

const self = identify(process.pid) ?? assert.fail('no /proc')
const GONE = { pid: process.pid, startTime: '1' }

function state(outer: LabState['outer'], name = 'default'): LabState {
  return { name, outer, userNamespace: false, hosts: ['node1'], ready: false }
}

test('a process is known by its id and its start', () => {
  assert.equal(self.pid, process.pid)
  assert.match(self.startTime, /^\d+$/)
  assert.equal(isAlive(self), true)
  assert.equal(isAlive(GONE), false)
  assert.equal(identify(2 ** 22 + 1), undefined) // above pid_max
})

test('a process with the id of another is not signalled', () => {
  // SIGUSR2 would end this process.
  assert.equal(signal(GONE, 'SIGUSR2'), false)
})

test('the files of a crashed lab make place for the next, those of a running one do not', () => {
  const paths = pathsIn(join(scratch, 'claim'))
  claimLab(paths, state(GONE))
  writeFileSync(join(paths.logs, 'old.log'), '')
  claimLab(paths, state(self))
  assert.equal(existsSync(join(paths.logs, 'old.log')), false)
  assert.deepEqual(readState(paths), state(self))
  assert.throws(() => claimLab(paths, state(self)), {
    code: 'already-running',
    message: /`lodestone lab down`/,
  })
})

test('a message about a lab with a name shows the flag', () => {
  const paths = pathsIn(join(scratch, 'named'))
  claimLab(paths, state(self, 'blue'))
  assert.throws(() => claimLab(paths, state(self, 'blue')), { message: /lab down --name blue/ })
})

test('half a state file counts as none', () => {
  const paths = pathsIn(join(scratch, 'half'))
  mkdirSync(paths.folder)
  writeState(paths, state(self))
  writeFileSync(paths.state, readFileSync(paths.state, 'utf8').slice(0, 20))
  assert.equal(readState(paths), undefined)
  assert.equal(readState(pathsIn(join(scratch, 'never'))), undefined)
})

for (const name of ['', 'A', 'a/b', '..', '-a', 'a-', 'a'.repeat(33), 'a b', 'ä']) {
  test(`"${name}" is no name for a lab`, () => {
    assert.throws(() => labPaths(name), { code: 'bad-argument' })
  })
}
