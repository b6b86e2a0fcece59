import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { AF_INET, addon, SOCK_DGRAM } from './native.ts'

const BUILD = fileURLToPath(new URL('../../../tools/build-native.mjs', import.meta.url))

test('the addon compiles without a warning', () => {
  const result = spawnSync(process.execPath, [BUILD, '--check'], { encoding: 'utf8' })
  assert.deepEqual([result.status, result.stderr], [0, ''])
})

test('without a compiler the build says what to install', () => {
  const { CC: _, ...environment } = process.env
  const env = { ...environment, PATH: '/nonexistent' }
  const result = spawnSync(process.execPath, [BUILD, '--check'], { encoding: 'utf8', env })
  assert.equal(result.status, 1)
  assert.equal(
    result.stderr,
    'lodestone: no C compiler (cc, gcc or clang) was found, so the native addon cannot be built; ' +
      'on Debian: apt-get install gcc libc6-dev\n',
  )
})

test('without the headers of the C library the build says what to install', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lodestone-cc-'))
  try {
    const compiler = join(folder, 'cc')
    // What gcc says without libc6-dev.
    const says = 'native/lodestone.c:15:10: fatal error: errno.h: No such file or directory'
    writeFileSync(compiler, `#!/bin/sh\n[ "$1" = --version ] && exit 0\necho '${says}' >&2\nexit 1\n`)
    chmodSync(compiler, 0o755)
    const env = { ...process.env, CC: compiler }
    const result = spawnSync(process.execPath, [BUILD, '--check'], { encoding: 'utf8', env })
    assert.equal(result.status, 1)
    assert.match(
      result.stderr,
      /^lodestone: the headers of .* are missing, .*apt-get install gcc libc6-dev\n$/,
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a closed socket throws, but for closing again and its counts', () => {
  const native = addon()
  const socket = native.open(AF_INET, SOCK_DGRAM, 0)
  native.close(socket)
  native.close(socket)
  assert.deepEqual(native.stats(socket), [0, 0, 0, 0, 0, 0])
  const closed = { code: 'ERR_SOCKET_CLOSED', message: 'the socket is closed' }
  for (const call of [
    () => native.descriptor(socket),
    () => native.release(socket),
    () => native.send(socket, new Uint8Array(1)),
    () => native.sendBatch(socket, new Uint8Array(1), Uint32Array.of(1)),
    () => native.bind(socket, new Uint8Array(16)),
    () => native.connect(socket, new Uint8Array(16)),
    () => native.localAddress(socket),
    () => native.setOption(socket, 1, 2, 1),
    () => native.getOption(socket, 1, 2),
    () => native.attachFilter(socket, new Uint8Array(8)),
    () => native.receive(socket, new Uint8Array(64), 64, new Int32Array(16), 1, () => {}),
  ]) {
    assert.throws(call, closed)
  }
})

test('arguments are checked: type, range, length', () => {
  const native = addon()
  const socket = native.open(AF_INET, SOCK_DGRAM, 0)
  try {
    assert.throws(() => native.open(1, 1, 0), { code: 'ERR_OUT_OF_RANGE', message: /AF_INET/ })
    assert.throws(() => native.open(Number.NaN, 2, 0), RangeError)
    assert.throws(() => native.send(socket, 'text' as unknown as Uint8Array), TypeError)
    assert.throws(() => native.close({} as never), TypeError)
    assert.throws(() => native.bind(socket, new Uint8Array(29)), RangeError)
    assert.throws(() => native.attachFilter(socket, new Uint8Array(12)), RangeError)
    assert.throws(() => native.sendBatch(socket, new Uint8Array(4), Uint32Array.of(3, 2)), RangeError)
    assert.throws(() => native.sendBatch(socket, new Uint8Array(4), Uint32Array.of(5)), RangeError)
    assert.throws(() => native.setOption(socket, 1, 26, new Uint8Array(16)), { message: /attachFilter/ })
    const tooSmall = (): void => native.receive(socket, new Uint8Array(8), 9, new Int32Array(16), 1, () => {})
    assert.throws(tooSmall, RangeError)
  } finally {
    native.close(socket)
  }
})

test('a worker gets SCHED_FIFO for itself alone, or a sentence that says why not', () => {
  // Field 41 of stat(5) is the scheduling policy: 0 is the ordinary one, 1 is SCHED_FIFO.
  const worker = `
    import { readFileSync } from 'node:fs'
    import { parentPort } from 'node:worker_threads'
    import { setRealtimeScheduling } from ${JSON.stringify(new URL('./native.js', import.meta.url).href)}
    const refused = setRealtimeScheduling(1)
    parentPort.postMessage({ refused, policy: readFileSync('/proc/thread-self/stat', 'utf8').split(' ')[40] })
  `
  const main = `
    import { readFileSync } from 'node:fs'
    import { Worker } from 'node:worker_threads'
    new Worker(new URL('data:text/javascript,' + ${JSON.stringify(encodeURIComponent(worker))})).on('message', message =>
      console.log(JSON.stringify({ ...message, main: readFileSync('/proc/thread-self/stat', 'utf8').split(' ')[40] })))
  `
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', main], { encoding: 'utf8' })
  const said = JSON.parse(out) as { refused?: string; policy: string; main: string }
  assert.equal(said.main, '0')
  assert.equal(said.policy, said.refused === undefined ? '1' : '0')
  if (said.refused !== undefined) assert.match(said.refused, /^SCHED_FIFO was refused: /)
})
