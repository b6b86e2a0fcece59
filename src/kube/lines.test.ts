import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { LineSplitter, LineTooLongError } from './lines.ts'

test('lines come out the same however the bytes were split, also within a character', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.string({ unit: 'grapheme' }).map(text => text.replaceAll(/[\n\r]/g, '')),
        { maxLength: 10 },
      ),
      fc.array(fc.nat(20), { maxLength: 20 }),
      (lines, cuts) => {
        const bytes = Buffer.from(lines.map(line => `${line}\n`).join(''))
        const splitter = new LineSplitter(1 << 20)
        const seen: string[] = []
        let at = 0
        for (const cut of cuts) {
          seen.push(...splitter.push(bytes.subarray(at, at + cut)))
          at += cut
        }
        seen.push(...splitter.push(bytes.subarray(at)))
        assert.deepEqual(
          seen,
          lines.filter(line => line !== ''),
        )
        assert.equal(splitter.pending, 0)
      },
    ),
  )
})

test('a line may have lineMax bytes and no more, in one piece or many', () => {
  assert.deepEqual([...new LineSplitter(4).push(Buffer.from('abcd\n'))], ['abcd'])
  assert.throws(() => [...new LineSplitter(4).push(Buffer.from('abcde\n'))], LineTooLongError)
  const splitter = new LineSplitter(4)
  assert.deepEqual([...splitter.push(Buffer.from('ab'))], [])
  assert.deepEqual([...splitter.push(Buffer.from('cd'))], [])
  assert.equal(splitter.pending, 4)
  assert.throws(() => [...splitter.push(Buffer.from('e'))], LineTooLongError)
})
