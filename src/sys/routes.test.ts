import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LITTLE_ENDIAN } from './endian.ts'
import { parseIpv4Routes, parseIpv6Routes } from './routes.ts'

/** As Linux 6.1 wrote them on a host with one default route of each family. */
const ROUTE = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\tFE0200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
`
const IPV6_ROUTE = `20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`

test('IPv4: only the default route has a next hop that counts', { skip: !LITTLE_ENDIAN }, () => {
  assert.deepEqual(parseIpv4Routes(ROUTE), [{ name: 'eth0', ip: '192.0.2.254' }])
})

test('IPv6: the unreachable default route of lo is none', () => {
  assert.deepEqual(parseIpv6Routes(IPV6_ROUTE), [{ name: 'eth0', ip: 'fe80::1' }])
})

test('whatever is in the files, there is an answer', () => {
  for (const text of ['', '\n\n', 'eth0 00000000', `${'0'.repeat(32)} 00 x x zz 0 0 0 00000003 eth0`]) {
    assert.deepEqual([parseIpv4Routes(text), parseIpv6Routes(text)], [[], []])
  }
})
