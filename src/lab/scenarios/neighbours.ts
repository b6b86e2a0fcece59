import { type Ip, parseIp } from '../../addr/ip.ts'
import type { Lab } from '../lab.ts'

/** Which node a client of the lab sends to for an address, by its own neighbour table: what the announcements are for. */
export type NeighbourView = {
  /** By address; an address that the client has not (or no longer) resolved is missing. */
  ownersSeenBy(client: string): Promise<ReadonlyMap<Ip, string>>
}

export async function openNeighbourView(lab: Lab, nodes: readonly string[]): Promise<NeighbourView> {
  const nodeOf = new Map<string, string>()
  for (const node of nodes) {
    const { code, stdout, stderr } = await lab.exec(node, ['ip', '-j', 'link', 'show', 'dev', 'eth0'])
    if (code !== 0) throw new Error(`the interface of ${node} cannot be read: ${stderr.trim()}`)
    for (const link of JSON.parse(stdout) as { address?: string }[]) {
      if (link.address !== undefined) nodeOf.set(link.address, node)
    }
  }
  return {
    async ownersSeenBy(client) {
      const { code, stdout, stderr } = await lab.exec(client, ['ip', '-j', 'neigh', 'show', 'dev', 'eth0'])
      if (code !== 0) throw new Error(`the neighbours of ${client} cannot be read: ${stderr.trim()}`)
      const seen = new Map<Ip, string>()
      for (const { dst, lladdr } of JSON.parse(stdout) as { dst: string; lladdr?: string }[]) {
        const ip = parseIp(dst)
        const node = lladdr === undefined ? undefined : nodeOf.get(lladdr)
        if (ip !== undefined && node !== undefined) seen.set(ip, node)
      }
      return seen
    },
  }
}
