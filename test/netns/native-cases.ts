// The cases of native-sockets.test.ts. Each runs in a process and network namespace of its own: node native-cases.js NAME
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { createServer, type Server, Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker } from 'node:worker_threads'
import { type Ip, parseIp } from '../../src/addr/ip.ts'
import { type Mac, parseMac } from '../../src/addr/mac.ts'
import type { FrameKind } from '../../src/ports/packet-socket.ts'
import { type NetlinkLinks, openLinks } from '../../src/sys/links.ts'
import { MulticastGroups } from '../../src/sys/multicast-groups.ts'
import {
  AF_INET,
  AF_INET6,
  AF_PACKET,
  addon,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
  setRealtimeScheduling,
} from '../../src/sys/native.ts'
import { createNft } from '../../src/sys/nft.ts'
import { type LinuxPacketSocket, LinuxPacketSockets } from '../../src/sys/packet-sockets.ts'
import { openRawIp } from '../../src/sys/raw-ip.ts'
import { receive } from '../../src/sys/receiver.ts'
import { encodeSockaddrPacket } from '../../src/sys/sockaddr.ts'
import { setMinimumTtl, setReceiveBuffer, setTcpMd5, setTtl } from '../../src/sys/socket-options.ts'
import { openDatagram } from '../../src/sys/udp.ts'

const OUR_MAC = '00005e005301'
const PEER_MAC = '00005e005302'
const BROADCAST = 'ffffffffffff'

function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'))
}

function ip(text: string): Ip {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}

function mac(text: string): Mac {
  const parsed = parseMac(text)
  assert.ok(parsed !== undefined)
  return parsed
}

function run(command: string): string {
  return execFileSync('sh', ['-ec', command], { encoding: 'utf8' })
}

async function waitFor(what: string, condition: () => boolean, withinMs = 10_000): Promise<void> {
  const end = performance.now() + withinMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited in vain for: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 2))
  }
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** va and vb: the two ends of one cable, both here. Frames sent on one arrive on the other. */
function cable(): { a: number; b: number } {
  run(
    `ip link set lo up
     ip link add va address 00:00:5e:00:53:01 type veth peer name vb address 00:00:5e:00:53:02
     ip link set va up; ip link set vb up`,
  )
  const index = (name: string): number => {
    const [link] = JSON.parse(run(`ip -j link show ${name}`)) as { ifindex: number }[]
    assert.ok(link !== undefined)
    return link.ifindex
  }
  return { a: index('va'), b: index('vb') }
}

type Heard = { readonly kind: FrameKind; readonly frame: string }

function listen(
  interfaceIndex: number,
  protocol: 'arp' | 'nd',
): { socket: LinuxPacketSocket; heard: Heard[]; errors: string[] } {
  const heard: Heard[] = []
  const errors: string[] = []
  const socket = new LinuxPacketSockets().open({
    interfaceIndex,
    protocol,
    onFrame: (frame, kind) => heard.push({ kind, frame: Buffer.from(frame).toString('hex') }),
    onError: error => errors.push(error.message),
  })
  return { socket, heard, errors }
}

/** An ARP request of the documentation ranges, with a number in its target. */
function arp(destination: string, number = 0): Uint8Array {
  const target = number.toString(16).padStart(4, '0')
  return hex(`${destination} ${OUR_MAC} 0806 0001 0800 06 04 0001
    ${OUR_MAC} c0000201 000000000000 c633${target} ${'00'.repeat(18)}`)
}

function icmpv6(type: number): Uint8Array {
  return hex(`3333ff000001 ${OUR_MAC} 86dd 60000000 0018 3a ff
    fe80000000000000 02005efffe005301 ff02000000000000 00000001ff000001
    ${type.toString(16).padStart(2, '0')} 00 0000 00000000 20010db8000000000000000000000001`)
}

function server(): Promise<{ server: Server; descriptor: number; port: number }> {
  return new Promise(resolve => {
    const listening = createServer(connection => connection.end('hello'))
    listening.listen(0, '127.0.0.1', () => {
      const address = listening.address()
      assert.ok(address !== null && typeof address === 'object')
      const handle = (listening as unknown as Record<string, { fd: number }>)['_handle']
      assert.ok(handle !== undefined)
      resolve({ server: listening, descriptor: handle.fd, port: address.port })
    })
  })
}

/** 'hello', or why not. */
function connect(port: number, prepare: (descriptor: number) => void): Promise<string> {
  const native = addon()
  const descriptor = native.release(native.open(AF_INET, SOCK_STREAM, 0))
  prepare(descriptor)
  return new Promise(resolve => {
    const socket = new Socket({ fd: descriptor, readable: true, writable: true })
    const patience = setTimeout(() => {
      socket.destroy()
      resolve('no answer')
    }, 500)
    const end = (result: string): void => {
      clearTimeout(patience)
      resolve(result)
    }
    let text = ''
    socket.on('data', data => {
      text += data.toString()
    })
    socket.on('end', () => end(text))
    socket.on('error', error => end(error.message))
    socket.connect(port, '127.0.0.1')
  })
}

/** Link, addresses and MAC as text, for short comparisons. */
function describe(links: NetlinkLinks, name: string): string {
  const link = [...links.current().values()].find(one => one.name === name)
  if (link === undefined) return 'absent'
  const addresses = link.addresses
    .filter(address => !address.ip.startsWith('fe80'))
    .map(address => `${address.ip}/${address.prefixLength}`)
  return [link.up ? 'up' : 'down', link.carrier ? 'carrier' : 'no-carrier', ...addresses].join(' ')
}

const CASES: Record<string, () => Promise<void> | void> = {
  'frames of ARP cross the cable, with their kind, and our own are not heard': async () => {
    const { a, b } = cable()
    const here = listen(a, 'arp')
    const there = listen(b, 'arp')
    const sent = [arp(BROADCAST), arp(PEER_MAC), arp('00005e005399'), arp('01005e000001')]
    for (const frame of sent) assert.equal(here.socket.send(frame), true)
    await waitFor('four frames', () => there.heard.length === 4)
    const kinds = ['broadcast', 'host', 'other-host', 'multicast']
    assert.deepEqual(
      there.heard,
      sent.map((frame, i) => ({ kind: kinds[i], frame: Buffer.from(frame).toString('hex') })),
    )
    assert.deepEqual(here.heard, [])
    assert.deepEqual(here.socket.stats(), { received: 0, dropped: 0, sent: 4, sendErrors: 0 })
    assert.equal(there.socket.stats().received, 4)
    here.socket.close()
    there.socket.close()
    there.socket.close()
    assert.equal(there.socket.send(arp(BROADCAST)), false)
    assert.equal(there.socket.sendBatch([arp(BROADCAST)]), 0)
    assert.equal(there.socket.stats().received, 4)
  },

  'the filter lets neighbour solicitations and advertisements through and nothing else': async () => {
    const { a, b } = cable()
    const here = listen(a, 'nd')
    const there = listen(b, 'nd')
    const solicitation = icmpv6(135)
    const advertisement = icmpv6(136)
    const udp = icmpv6(135)
    udp[20] = 17
    const ipv4 = icmpv6(135)
    ipv4.set([0x08, 0x00], 12)
    const others = [
      icmpv6(128),
      icmpv6(133),
      icmpv6(134),
      icmpv6(137),
      icmpv6(143),
      udp,
      ipv4,
      arp(BROADCAST),
    ]
    const short = solicitation.subarray(0, 54)
    for (const frame of [solicitation, ...others, short, advertisement]) here.socket.send(frame)
    const ours = (): string[] =>
      there.heard
        .map(({ frame }) => frame)
        .filter(frame => frame.slice(12, 24) === OUR_MAC && frame.includes('02005efffe005301ff02'))
    await waitFor('the advertisement', () => ours().includes(Buffer.from(advertisement).toString('hex')))
    assert.deepEqual(
      ours(),
      [solicitation, advertisement].map(frame => Buffer.from(frame).toString('hex')),
    )
    here.socket.close()
    there.socket.close()
  },

  'batches keep their order, and more than one slot of frames arrives in one turn': async () => {
    const { a, b } = cable()
    const here = listen(a, 'arp')
    const there = listen(b, 'arp')
    const frames = Array.from({ length: 300 }, (_, i) => arp(BROADCAST, i))
    assert.equal(here.socket.sendBatch(frames), 300)
    await waitFor('300 frames', () => there.heard.length === 300)
    assert.deepEqual(
      there.heard.map(({ frame }) => frame),
      frames.map(frame => Buffer.from(frame).toString('hex')),
    )
    here.socket.close()
    there.socket.close()
  },

  'a flood on a slow reader: drops are counted, timers run between the turns': async () => {
    const { a, b } = cable()
    const here = listen(a, 'arp')
    const there = listen(b, 'arp')
    const frames = Array.from({ length: 5000 }, (_, i) => arp(BROADCAST, i))
    // The reader cannot run: the loop is busy here.
    let sent = 0
    for (let round = 0; round < 4; round++) sent += here.socket.sendBatch(frames)
    assert.equal(sent, 20_000)
    const perTurn: number[] = []
    let before = 0
    await new Promise<void>(resolve => {
      const turn = (): void => {
        perTurn.push(there.heard.length - before)
        if (before === there.heard.length && before > 0) return resolve()
        before = there.heard.length
        setImmediate(turn)
      }
      setImmediate(turn)
    })
    assert.ok(Math.max(...perTurn) <= 256, `frames per turn: ${perTurn.join(' ')}`)
    const { received, dropped } = there.socket.stats()
    assert.equal(received, there.heard.length)
    assert.ok(dropped > 0)
    assert.equal(received + dropped, sent)
    here.socket.close()
    there.socket.close()
  },

  'an interface that is set down refuses frames, and carries them again when it is up': async () => {
    const { a, b } = cable()
    const here = listen(a, 'arp')
    const there = listen(b, 'arp')
    run('ip link set va down')
    assert.equal(here.socket.send(arp(BROADCAST)), false)
    assert.equal(here.socket.sendBatch([arp(BROADCAST), arp(BROADCAST)]), 0)
    assert.equal(here.socket.stats().sendErrors, 3)
    run('ip link set va up; ip link set vb down; ip link set vb up')
    await waitFor('a frame', () => {
      here.socket.send(arp(BROADCAST))
      return there.heard.length > 0
    })
    assert.deepEqual([here.errors, there.errors], [[], []])
    here.socket.close()
    there.socket.close()
  },

  'an interface that is removed closes its socket, with one sentence': async () => {
    const { a } = cable()
    const up = listen(a, 'arp')
    run('ip link del va')
    await waitFor('the error', () => up.errors.length > 0)
    assert.deepEqual(up.errors, [`the network interface with index ${a} was removed`])
    assert.equal(up.socket.send(arp(BROADCAST)), false)
    const again = cable()
    const down = listen(again.a, 'arp')
    run('ip link set va down')
    await new Promise(resolve => setTimeout(resolve, 20))
    run('ip link del va')
    await waitFor('the error', () => down.errors.length > 0)
    assert.deepEqual(down.errors, [`the network interface with index ${again.a} was removed`])
  },

  'a missing interface is named': () => {
    assert.throws(() => listen(4711, 'arp'), { message: 'there is no network interface with index 4711' })
  },

  'interfaces: carrier, addresses, name and removal are told': async () => {
    cable()
    const links = await openLinks()
    let changes = 0
    links.onChange(() => changes++)
    const expect = async (command: string, name: string, wanted: string): Promise<void> => {
      const before = changes
      run(command)
      await waitFor(`${name} ${wanted}, not ${describe(links, name)}`, () => describe(links, name) === wanted)
      await waitFor('the listener', () => changes > before)
    }
    assert.equal(describe(links, 'va'), 'up carrier')
    await expect('ip link set vb down', 'va', 'up no-carrier')
    await expect('ip link set vb up', 'va', 'up carrier')
    await expect('ip link set va down', 'va', 'down no-carrier')
    await expect('ip link set va up', 'va', 'up carrier')
    await expect('ip addr add 192.0.2.10/24 dev va', 'va', 'up carrier 192.0.2.10/24')
    await expect('ip addr add 2001:db8::10/64 dev va nodad', 'va', 'up carrier 192.0.2.10/24 2001:db8::10/64')
    await expect('ip addr del 192.0.2.10/24 dev va', 'va', 'up carrier 2001:db8::10/64')
    await expect('ip link set va down; ip link set va name vc', 'vc', 'down no-carrier')
    assert.equal(describe(links, 'va'), 'absent')
    // A port that leaves its bridge is told of as deleted there: the interface itself stays.
    run('ip link add br0 type bridge; ip link set vc master br0')
    const master = (): number | undefined =>
      [...links.current().values()].find(one => one.name === 'vc')?.master
    const bridge = (): number | undefined =>
      [...links.current().values()].find(one => one.name === 'br0')?.index
    await waitFor('the master', () => master() !== undefined && master() === bridge())
    run('ip link set vc nomaster')
    await waitFor('no master', () => master() === undefined)
    assert.equal(describe(links, 'vc'), 'down no-carrier')
    await expect('ip link del vc', 'vc', 'absent')
    links.close()
    links.close()
  },

  'interfaces: when notifications were lost everything is read again': async () => {
    cable()
    const links = await openLinks({ receiveBuffer: 4096 })
    const commands = Array.from({ length: 400 }, (_, i) => `addr add 10.0.${i >> 7}.${i & 127}/32 dev va`)
    // The loop stands still meanwhile, so the small queue overflows.
    execFileSync('ip', ['-batch', '-'], { input: commands.join('\n') })
    await waitFor('all addresses', () => describe(links, 'va').split(' ').length === 402)
    assert.ok(links.resyncs > 0, 'nothing was lost: the test proves nothing')
    links.close()
  },

  'workers with open sockets are terminated cleanly, also in a flood': async () => {
    const { a, b } = cable()
    const module = (name: string): string =>
      JSON.stringify(new URL(`../../src/sys/${name}.js`, import.meta.url).href)
    const program = `
      import { parentPort } from 'node:worker_threads'
      import { LinuxPacketSockets } from ${module('packet-sockets')}
      import { openLinks } from ${module('links')}
      import { openDatagram } from ${module('udp')}
      const options = { interfaceIndex: ${b}, onError() {} }
      for (const protocol of ['arp', 'nd']) {
        let seen = 0
        new LinuxPacketSockets().open({ ...options, protocol, onFrame() { if (seen++ === 0) parentPort.postMessage('flooded') } })
      }
      openDatagram({ ip: '127.0.0.1', port: 0, onDatagram() {}, onError() {} })
      await openLinks()
      parentPort.postMessage('open')
    `
    const before = descriptors()
    const here = listen(a, 'arp')
    const frames = Array.from({ length: 500 }, (_, i) => arp(BROADCAST, i))
    for (let i = 0; i < 8; i++) {
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`))
      const messages: unknown[] = []
      worker.on('message', message => messages.push(message))
      worker.on('error', error => assert.ifError(error))
      await waitFor('the sockets of the worker', () => messages.includes('open'))
      if (i % 2 === 1)
        await waitFor('the flood', () => here.socket.sendBatch(frames) > 0 && messages.includes('flooded'))
      assert.equal(await worker.terminate(), 1)
    }
    here.socket.close()
    await waitFor('all descriptors closed', () => descriptors() <= before)
  },

  'an exception in a handler is an uncaught exception, as in any callback': async () => {
    const { a, b } = cable()
    const here = listen(a, 'arp')
    const thrower = new LinuxPacketSockets().open({
      interfaceIndex: b,
      protocol: 'arp',
      onFrame: () => {
        throw new Error('from the handler')
      },
      onError: error => assert.ifError(error),
    })
    const caught: string[] = []
    process.on('uncaughtException', error => caught.push(error.message))
    here.socket.send(arp(BROADCAST))
    await waitFor('the exception', () => caught.length > 0)
    here.socket.send(arp(BROADCAST))
    await waitFor('the next', () => caught.length > 1)
    assert.deepEqual(caught, ['from the handler', 'from the handler'])
    here.socket.close()
    thrower.close()
  },

  'a handler may close its own socket: nothing more is delivered': async () => {
    const { a, b } = cable()
    const here = listen(a, 'arp')
    let heard = 0
    const closer = new LinuxPacketSockets().open({
      interfaceIndex: b,
      protocol: 'arp',
      onFrame: () => {
        heard++
        closer.close()
      },
      onError: error => assert.ifError(error),
    })
    here.socket.sendBatch([arp(BROADCAST), arp(BROADCAST), arp(BROADCAST)])
    await waitFor('a frame', () => heard > 0)
    await new Promise(resolve => setImmediate(resolve))
    assert.equal(heard, 1)
    here.socket.close()
  },

  'a thousand sockets opened and closed, or dropped unclosed, leave no descriptor': async () => {
    const { a } = cable()
    const native = addon()
    listen(a, 'arp').socket.close()
    const before = descriptors()
    // Closing a packet socket waits for the kernel's grace period (some milliseconds): not all thousand are of that kind.
    const quiet = { onDatagram: () => {}, onError: (error: Error) => assert.ifError(error) }
    for (let i = 0; i < 1000; i++) {
      if (i % 10 === 0) listen(a, i % 20 === 0 ? 'arp' : 'nd').socket.close()
      else if (i % 10 === 5) (await openLinks()).close()
      else openDatagram({ ip: ip('127.0.0.1'), port: 0, ...quiet }).close()
      if (i % 100 === 0) await new Promise(resolve => setImmediate(resolve))
    }
    assert.equal(descriptors(), before)
    for (let i = 0; i < 200; i++) native.open(AF_INET, SOCK_DGRAM, 0)
    assert.ok(descriptors() > before)
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    await waitFor('the collector', () => {
      collect()
      return descriptors() === before
    })
  },

  'raw IP: payload without header, TTL, both families, a multicast group': async () => {
    run('ip link set lo up; ip link set lo multicast on')
    for (const [family, address] of [
      ['IPv4', '127.0.0.1'],
      ['IPv6', '::1'],
    ] as const) {
      const heard: unknown[] = []
      const socket = openRawIp({
        family,
        protocol: 112,
        interface: { name: 'lo', index: 1 },
        ttl: 255,
        groups: [ip(family === 'IPv4' ? '224.0.0.18' : 'ff02::12')],
        onPacket: (payload, from) => heard.push({ payload: Buffer.from(payload).toString(), ...from }),
        onError: error => assert.ifError(error),
      })
      assert.equal(socket.send(Buffer.from('advertisement'), ip(address)), true)
      await waitFor(`a packet of ${family}`, () => heard.length > 0)
      assert.deepEqual(heard, [{ payload: 'advertisement', ip: address, ttl: 255, interfaceIndex: 1 }])
      assert.match(run('ip maddr show dev lo'), family === 'IPv4' ? /224\.0\.0\.18/ : /ff02::12/)
      socket.close()
      assert.equal(socket.send(Buffer.from('x'), ip(address)), false)
    }
  },

  'TCP MD5: only who has the key gets an answer': async () => {
    run('ip link set lo up')
    const { server: listening, descriptor, port } = await server()
    setTcpMd5(descriptor, ip('127.0.0.1'), 'the key')
    assert.equal(await connect(port, fd => setTcpMd5(fd, ip('127.0.0.1'), 'the key')), 'hello')
    assert.equal(await connect(port, fd => setTcpMd5(fd, ip('127.0.0.1'), 'another')), 'no answer')
    assert.equal(await connect(port, () => {}), 'no answer')
    setTcpMd5(descriptor, ip('127.0.0.1'), '')
    assert.equal(await connect(port, () => {}), 'hello')
    assert.throws(() => setTcpMd5(descriptor, ip('127.0.0.1'), 'x'.repeat(81)), RangeError)
    listening.close()
  },

  'minimum TTL: what comes from farther away is not answered': async () => {
    run('ip link set lo up')
    const { server: listening, descriptor, port } = await server()
    setMinimumTtl(descriptor, 'IPv4', 255)
    assert.equal(await connect(port, fd => setTtl(fd, 'IPv4', 255)), 'hello')
    assert.equal(await connect(port, fd => setTtl(fd, 'IPv4', 64)), 'no answer')
    listening.close()
    const native = addon()
    const socket = native.open(AF_INET6, SOCK_STREAM, 0)
    setMinimumTtl(socket, 'IPv6', 255)
    assert.equal(native.getOption(socket, 41, 73), 255)
    native.close(socket)
  },

  'a group is joined once for all its users, and reported to the switch': async () => {
    const { a, b } = cable()
    const native = addon()
    const reports: string[] = []
    const listener = native.open(AF_PACKET, SOCK_RAW, 0)
    native.bind(listener, encodeSockaddrPacket(0x86dd, b))
    const stop = receive(listener, {
      slotSize: 2048,
      onMessage: ({ bytes }) => {
        // Hop-by-hop header (router alert), then ICMPv6 type 143: version 2 multicast listener report (RFC 3810 section 5.2).
        if (bytes[20] === 0 && bytes[62] === 143)
          reports.push(Buffer.from(bytes.subarray(62)).toString('hex'))
      },
      onError: code => assert.fail(code),
    })
    const group = ip('ff02::1:ff00:1234')
    const member = (): boolean => run('ip -6 maddr show dev va').includes(group)
    const groups = new MulticastGroups()
    const first = groups.joinGroup(a, group)
    const second = groups.joinGroup(a, group)
    assert.equal(member(), true)
    await waitFor('a report', () =>
      reports.some(report => report.includes('ff0200000000000000000001ff001234')),
    )
    first.close()
    first.close()
    assert.equal(member(), true)
    second.close()
    assert.equal(member(), false)
    // More groups than one socket may hold (igmp_max_memberships is 20).
    for (let i = 1; i <= 50; i++) groups.joinGroup(a, ip(`239.255.0.${i}`))
    assert.equal(run('ip -4 maddr show dev va').split('239.255.0.').length, 51)
    groups.close()
    assert.equal(run('ip -4 maddr show dev va').split('239.255.0.').length, 1)
    assert.throws(() => groups.joinGroup(4711, group), { code: 'ENODEV' })
    groups.close()
    stop()
    const { socket } = listen(a, 'nd')
    socket.joinLinkGroup(mac('33:33:ff:00:56:78'))
    assert.match(run('ip maddr show dev va'), /33:33:ff:00:56:78/)
    socket.close()
    assert.doesNotMatch(run('ip maddr show dev va'), /33:33:ff:00:56:78/)
  },

  'nft: a transaction is applied whole or refused, a table is read back': async () => {
    const nft = createNft()
    assert.equal(await nft.listTable('inet', 'lodestone'), undefined)
    await nft.apply('add table inet lodestone\nadd chain inet lodestone one\n')
    assert.match((await nft.listTable('inet', 'lodestone')) ?? '', /chain one/)
    await assert.rejects(nft.apply('add chain inet lodestone two\nadd rule inet nowhere three accept\n'), {
      name: 'NftError',
      code: 'refused',
      message: /No such file or directory/,
    })
    assert.doesNotMatch((await nft.listTable('inet', 'lodestone')) ?? '', /chain two/)
  },

  'nft in a named namespace': async () => {
    run('mount -t tmpfs none /run; ip netns add inner')
    const inner = createNft({ netns: 'inner' })
    await inner.apply('add table inet lodestone\n')
    assert.match((await inner.listTable('inet', 'lodestone')) ?? '', /table inet lodestone/)
    assert.equal(await createNft().listTable('inet', 'lodestone'), undefined)
    await assert.rejects(createNft({ netns: 'missing' }).apply(''), { code: 'refused', message: /missing/ })
    await assert.rejects(createNft({ netns: 'inner', program: 'nft-that-is-not-there' }).apply(''), {
      code: 'not-installed',
    })
  },

  'without capabilities each error names the one that is missing': async () => {
    const native = addon()
    assert.throws(() => listen(1, 'arp'), { code: 'EPERM', syscall: 'socket', message: /CAP_NET_RAW/ })
    assert.throws(() => native.open(AF_INET, SOCK_RAW, 112), { code: 'EPERM', message: /CAP_NET_RAW/ })
    const socket = native.open(AF_INET, SOCK_DGRAM, 0)
    // SO_RCVBUFFORCE, SO_MARK
    for (const option of [33, 36]) {
      assert.throws(() => native.setOption(socket, 1, option, 4096), {
        code: 'EPERM',
        message: /CAP_NET_ADMIN/,
      })
    }
    setReceiveBuffer(socket, 8192)
    native.close(socket)
    const datagram = { onDatagram: () => {}, onError: () => {} }
    assert.throws(() => openDatagram({ ip: ip('0.0.0.0'), port: 1, ...datagram }), {
      code: 'EPERM',
      message: /CAP_NET_BIND_SERVICE/,
    })
    assert.match(setRealtimeScheduling(10) ?? '', /CAP_SYS_NICE/)
    await assert.rejects(createNft().apply('add table inet x\n'), {
      code: 'not-permitted',
      message: /CAP_NET_ADMIN/,
    })
    const links = await openLinks()
    assert.ok(links.current().size > 0)
    links.close()
  },

  'open sockets do not hinder the exit of the process': async () => {
    const { a, b } = cable()
    listen(a, 'arp')
    listen(b, 'nd')
    await openLinks()
    openDatagram({ ip: ip('0.0.0.0'), port: 0, onDatagram: () => {}, onError: () => {} })
    console.log('ok')
    process.exit(0)
  },
}

/** Those that must run without any capability. */
export const UNPRIVILEGED = new Set(['without capabilities each error names the one that is missing'])
export const NAMES = Object.keys(CASES)

const name = process.argv[2]
if (process.argv[1]?.endsWith('native-cases.js') === true && name !== undefined) {
  const body = CASES[name]
  assert.ok(body !== undefined, `no such case: ${name}`)
  await body()
  console.log('ok')
}
