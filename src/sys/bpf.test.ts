import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BpfInstruction, encodeBpf, NEIGHBOUR_DISCOVERY_FILTER } from './bpf.ts'
import { LITTLE_ENDIAN } from './endian.ts'

test('instructions as the kernel takes them (struct sock_filter)', {
  skip: LITTLE_ENDIAN ? false : 'the bytes are those of a little-endian machine',
}, () => {
  const program: BpfInstruction[] = [
    [0x28, 0, 0, 12],
    [0x15, 0, 6, 0x86dd],
    [0x06, 0, 0, 0x40000],
  ]
  assert.equal(
    Buffer.from(encodeBpf(program)).toString('hex'),
    '280000000c00000015000006dd8600000600000000000400',
  )
})

test('every jump of the neighbour discovery filter stays inside and its last word is a return', () => {
  for (const [i, [code, jt, jf]] of NEIGHBOUR_DISCOVERY_FILTER.entries()) {
    if (code !== 0x15) continue
    assert.ok(i + 1 + Math.max(jt, jf) < NEIGHBOUR_DISCOVERY_FILTER.length)
  }
  assert.equal(NEIGHBOUR_DISCOVERY_FILTER.at(-1)?.[0], 0x06)
})
