import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseUsage } from './measured-process.ts'

// As Linux 6 writes them, shortened; the name of the process has spaces and a parenthesis.
const STATUS = `Name:	node) a b
Umask:	0022
VmPeak:	 1096656 kB
VmHWM:	  250000 kB
VmRSS:	  100000 kB
Threads:	11
`
const STAT = '4242 (node) a b) S 1 4242 4242 0 -1 4194560 9 0 0 0 1234 66 0 0 20 0 11 0 5489 1 2\n'

test('memory and processor time of a process', () => {
  assert.deepEqual(parseUsage(STATUS + STAT), { residentMb: 102.4, peakMb: 256, cpuSeconds: 13 })
})

test('a process that is gone has none', () => {
  assert.throws(() => parseUsage(''), /has ended/)
})
