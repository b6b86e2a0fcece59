import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createLog, type LogOptions } from './log.ts'

const scratch = mkdtempSync(join(tmpdir(), 'lodestone-log-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

function lines(
  name: string,
  options: Omit<LogOptions, 'to'>,
  write: (log: ReturnType<typeof createLog>) => void,
) {
  const file = join(scratch, name)
  write(createLog({ ...options, to: file }))
  const text = readFileSync(file, 'utf8')
  return text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Record<string, unknown>)
}

test('one line per event, on disk before the call returns', () => {
  const [line, ...more] = lines('one', { level: 'info', always: { node: 'n1' } }, log => {
    log.debug('not-written')
    log.info('address-taken', { ip: '192.0.2.1', tookMs: 3.5 })
  })
  assert.deepEqual(more, [])
  assert.match(String(line?.['ts']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  assert.deepEqual(
    { ...line, ts: '' },
    { ts: '', level: 'info', event: 'address-taken', node: 'n1', ip: '192.0.2.1', tookMs: 3.5 },
  )
})

test('an error is written as message, code and causes', () => {
  const [line] = lines('error', { level: 'error' }, log => {
    log.warn('not-written')
    const root = Object.assign(new Error('root'), { code: 'EPERM' })
    log.error('failed', { error: new Error('outer', { cause: new Error('middle', { cause: root }) }) })
  })
  assert.deepEqual(line?.['error'], {
    message: 'outer',
    cause: { message: 'middle', cause: { message: 'root', code: 'EPERM' } },
  })
})

test('a loop of causes ends', () => {
  const error = new Error('round')
  error.cause = error
  const [line] = lines('loop', { level: 'info' }, log => log.info('failed', { error }))
  assert.equal(line?.['event'], 'failed')
})

test('fields do not take the place of ts, level and event', () => {
  const [line] = lines('reserved', { level: 'info' }, log => log.info('right', { event: 'wrong', level: 9 }))
  assert.equal(line?.['event'], 'right')
  assert.equal(line?.['level'], 'info')
  assert.equal(line?.['field.event'], 'wrong')
  assert.equal(line?.['field.level'], 9)
})

test('lines of a worker are not lost when the process exits at once', () => {
  const program = `
    import { Worker, isMainThread } from 'node:worker_threads'
    import { createLog } from ${JSON.stringify(new URL('./log.js', import.meta.url).href)}
    const log = createLog({ level: 'info' })
    for (let i = 0; i < 50; i++) log.info('from-worker', { i })
    process.exit()
  `
  const main = `
    import { Worker } from 'node:worker_threads'
    const worker = new Worker(new URL('data:text/javascript,' + ${JSON.stringify(encodeURIComponent(program))}))
    worker.on('exit', () => process.exit())
  `
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', main], { encoding: 'utf8' })
  assert.equal(out.trim().split('\n').length, 50)
})
