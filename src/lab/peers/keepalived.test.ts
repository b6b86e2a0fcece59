import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keepalivedConfig, parseStates } from './keepalived.ts'

test('the configuration of an instance', () => {
  const text = keepalivedConfig('node1', {
    virtualRouterId: 51,
    priority: 200,
    advertIntervalSeconds: 0.1,
    addresses: ['192.0.2.100/32', '192.0.2.101/32'],
    more: ['nopreempt'],
  })
  assert.equal(
    text,
    `global_defs {
  router_id node1
  vrrp_version 3
}
vrrp_instance lab {
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority 200
  advert_int 0.1
  nopreempt
  virtual_ipaddress {
    192.0.2.100/32
    192.0.2.101/32
  }
}
`,
  )
})

// As keepalived 2.2.7 writes it: start, election, a higher priority that comes back, a link that is cut.
const LOG = `Sat Nov 21 22:59:00 2026: Starting Keepalived v2.2.7 (01/16,2022)
Sat Nov 21 22:59:00 2026: Starting VRRP child process, pid=4242
Sat Nov 21 22:59:00 2026: (lab) Entering BACKUP STATE (init)
Sat Nov 21 22:59:01 2026: (lab) received lower priority (100) advert from 192.0.2.13 - discarding
Sat Nov 21 22:59:04 2026: (lab) Entering MASTER STATE
Sat Nov 21 22:59:09 2026: (lab) Master received advert from 192.0.2.11 with higher priority 200, ours 150
Sat Nov 21 22:59:09 2026: (lab) Entering BACKUP STATE
Sat Nov 21 22:59:12 2026: Netlink reports eth0 down
Sat Nov 21 22:59:12 2026: (lab) Entering FAULT STATE
`

test('states in a log, in their order; other lines say nothing of them', () => {
  assert.deepEqual(parseStates(LOG), ['BACKUP', 'MASTER', 'BACKUP', 'FAULT'])
  assert.deepEqual(parseStates(''), [])
})
