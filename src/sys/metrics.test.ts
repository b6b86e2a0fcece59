import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PrometheusMetrics } from './metrics.ts'

function metrics(): PrometheusMetrics {
  return new PrometheusMetrics([
    { name: 'announced', help: 'Addresses', type: 'gauge', labels: ['ip'] },
    { name: 'requests_total', help: 'Requests', type: 'counter', labels: ['ip'] },
    { name: 'stale', help: 'Stale', type: 'gauge', labels: [] },
  ])
}

async function lines(from: PrometheusMetrics): Promise<string[]> {
  return (await from.text()).split('\n').filter(line => line !== '' && !line.startsWith('#'))
}

test('series without labels are there from the start, others once they are set', async () => {
  const m = metrics()
  assert.deepEqual(await lines(m), ['stale 0'])
  m.set('announced', { ip: '192.0.2.1' }, 1)
  assert.deepEqual(await lines(m), ['announced{ip="192.0.2.1"} 1', 'stale 0'])
  m.remove('announced', { ip: '192.0.2.1' })
  assert.deepEqual(await lines(m), ['stale 0'])
})

test('a counter that is kept elsewhere never falls, and goes on after that starts anew', async () => {
  const m = metrics()
  const shown = async (value: number) => {
    m.set('requests_total', { ip: '192.0.2.1' }, value)
    return Number(
      (await lines(m))
        .find(line => line.startsWith('requests_total'))
        ?.split(' ')
        .at(-1),
    )
  }
  assert.equal(await shown(5), 5)
  assert.equal(await shown(5), 5)
  assert.equal(await shown(7), 7)
  assert.equal(await shown(2), 7)
  assert.equal(await shown(3), 8)
})

test('adding, and a name that nobody declared', async () => {
  const m = metrics()
  m.add('requests_total', { ip: '192.0.2.2' }, 3)
  m.add('requests_total', { ip: '192.0.2.2' }, 4)
  assert.ok((await lines(m)).includes('requests_total{ip="192.0.2.2"} 7'))
  assert.throws(() => m.set('nothing', {}, 1), /metric nothing is not declared/)
})
