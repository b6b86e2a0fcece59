import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { BoundedLog, tail } from './bounded-log.ts'

const scratch = mkdtempSync(join(tmpdir(), 'lodestone-log-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

test('two files at most, the older part in the second', () => {
  const path = join(scratch, 'small.log')
  const log = new BoundedLog(path, 10)
  for (const line of ['1234\n', '5678\n', 'abcd\n', 'efgh\n', 'ijkl\n']) log.write(Buffer.from(line))
  log.close()
  assert.equal(readFileSync(path, 'utf8'), 'ijkl\n')
  assert.equal(readFileSync(`${path}.old`, 'utf8'), 'abcd\nefgh\n')
  assert.deepEqual(readdirSync(scratch), ['small.log', 'small.log.old'])
})

test('one write above the limit is kept whole', () => {
  const path = join(scratch, 'long.log')
  const log = new BoundedLog(path, 4)
  log.write(Buffer.from('much more than four'))
  log.close()
  assert.equal(tail(path), 'much more than four')
})

test('the last lines, and nothing where there is no file', () => {
  const path = join(scratch, 'tail.log')
  const log = new BoundedLog(path)
  log.write(Buffer.from('a\nb\nc\n'))
  log.close()
  assert.equal(tail(path, 2), 'b\nc')
  assert.equal(tail(join(scratch, 'none')), '')
})
