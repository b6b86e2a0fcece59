import type { Lab } from '../../src/lab/lab.ts'
import { LAB_DEFAULTS } from '../../src/lab/lab.ts'
import { type LabShape, planTopology } from '../../src/lab/topology.ts'

/** The node itself is told at once that it has no carrier: its interface goes down. The lab knows nothing of it. */
export async function takeInterfaceDown(lab: Pick<Lab, 'exec'>, node: string): Promise<void> {
  await mustRun(lab, node, ['ip', 'link', 'set', 'eth0', 'down'])
}

/** The kernel forgot the routes of the interface, all but those of its own addresses. */
export async function restoreInterface(
  lab: Pick<Lab, 'exec'>,
  node: string,
  shape: Partial<LabShape>,
): Promise<void> {
  const host = planTopology({ ...LAB_DEFAULTS, ...shape }).hosts.find(({ name }) => name === node)
  const routes = (host?.commands ?? []).filter(line => line.startsWith('route add '))
  const script = ['link set eth0 up', ...routes.map(line => line.replace('route add', 'route replace'))]
  await mustRun(lab, node, ['ip', '-batch', '-'], `${script.join('\n')}\n`)
}

async function mustRun(
  lab: Pick<Lab, 'exec'>,
  node: string,
  argv: readonly string[],
  input = '',
): Promise<void> {
  const { code, stderr } = await lab.exec(node, argv, input)
  if (code !== 0) throw new Error(`${argv.join(' ')} on ${node}: ${stderr.trim()}`)
}
