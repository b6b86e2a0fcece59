import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConntrackTool, parseConntrack } from './conntrack.ts'

// As conntrack 1.4.7 prints them.
const OUTPUT = `udp      17 29 src=192.0.2.100 dst=203.0.113.1 sport=41000 dport=80 src=10.244.2.11 dst=192.0.2.11 sport=8080 dport=37811 mark=0 use=1
udp      17 12 src=192.0.2.100 dst=203.0.113.1 sport=41001 dport=80 [UNREPLIED] src=203.0.113.1 dst=192.0.2.100 sport=80 dport=41001 mark=0 use=1
udp      17 29 src=2001:db8::100 dst=2001:db8:f::1 sport=41000 dport=80 src=fd00:244:2::11 dst=2001:db8::11 sport=8080 dport=53211 [ASSURED] mark=0 use=1
icmp     1 29 src=192.0.2.100 dst=203.0.113.1 type=8 code=0 id=1 src=203.0.113.1 dst=192.0.2.100 type=0 code=0 id=1 mark=0 use=1
`

test('flows from the words of conntrack', () => {
  assert.deepEqual(parseConntrack('UDP', OUTPUT), [
    {
      protocol: 'UDP',
      originalSource: { ip: '192.0.2.100', port: 41000 },
      originalDestination: { ip: '203.0.113.1', port: 80 },
      replySource: { ip: '10.244.2.11', port: 8080 },
    },
    {
      protocol: 'UDP',
      originalSource: { ip: '192.0.2.100', port: 41001 },
      originalDestination: { ip: '203.0.113.1', port: 80 },
      replySource: { ip: '203.0.113.1', port: 80 },
    },
    {
      protocol: 'UDP',
      originalSource: { ip: '2001:db8::100', port: 41000 },
      originalDestination: { ip: '2001:db8:f::1', port: 80 },
      replySource: { ip: 'fd00:244:2::11', port: 8080 },
    },
  ])
  assert.deepEqual(parseConntrack('SCTP', OUTPUT), [])
})

test('a missing tool is named with its package', async () => {
  const tool = new ConntrackTool(['lodestone-no-such-command'])
  await assert.rejects(tool.list('UDP'), {
    name: 'ConntrackError',
    code: 'not-installed',
    message: /package conntrack/,
  })
})
