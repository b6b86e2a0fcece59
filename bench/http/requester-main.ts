import { createKube } from '../../src/kube/client.ts'
import { loadKubeConfig } from '../../src/kube/config.ts'
import type { TransportFactory } from '../../src/kube/transport.ts'
import { RESOURCES } from '../../src/ports/kube.ts'
import { SystemClock } from '../../src/sys/clock.ts'
import { createLog } from '../../src/sys/log.ts'
import { systemRandom } from '../../src/sys/random.ts'
import type { Cost } from './messages.ts'

// Writes an address into each of the first Services, as a controller does, and says what that took.
// Arguments: kubeconfig, how requests travel, how many, a number of its own for each run.
const [kubeconfig = '', program = '', count = '0', run = '0'] = process.argv.slice(2)
/** As many as a controller writes at once. */
const AT_ONCE = 32
const NAMESPACES = 50

async function load(): Promise<TransportFactory> {
  if (program === 'undici') {
    const { UndiciTransport } = await import('../../src/kube/transport-undici.ts')
    return target => new UndiciTransport(target)
  }
  const { NodeTransport } = await import('../../src/kube/transport-node.ts')
  return target => new NodeTransport(target)
}

const transport = await load()
const clock = new SystemClock()
const kube = createKube({
  config: await loadKubeConfig({ clock, kubeconfig }),
  clock,
  random: systemRandom,
  log: createLog({ level: 'warn', to: 2 }),
  userAgent: 'lodestone-bench',
  transport,
})
const loadedMb = process.memoryUsage.rss() / 1e6
const names = Array.from({ length: Number(count) }, (_, i) => i).values()
async function write(): Promise<void> {
  for (const i of names) {
    const name = { namespace: `team-${i % NAMESPACES}`, name: `service-${i}` }
    const ingress = [{ ip: `10.${Number(run) & 255}.${i >> 8}.${i & 255}` }]
    const patch = { status: { loadBalancer: { ingress } } }
    await kube.patch(RESOURCES.services, name, patch, { type: 'merge', subresource: 'status' })
  }
}
await Promise.all(Array.from({ length: AT_ONCE }, write))
const { user, system } = process.cpuUsage()
const cost: Cost = {
  cpuSeconds: (user + system) / 1e6,
  loadedMb,
  residentMb: process.memoryUsage.rss() / 1e6,
}
console.log(JSON.stringify(cost))
kube.close()
