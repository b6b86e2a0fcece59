import type { Lab } from '../lab.ts'
import type { SpawnProbe } from '../probe/probe.ts'

/** Not of the terminal's foreground group: an interrupt is ours to act on. These programs end with their standard input. */
export const APART = { detached: true } as const

/** Starts probes on a client of the lab. */
export function probeSpawner(lab: Lab, client: string): SpawnProbe {
  return argv => lab.spawn(client, argv, { ...APART, stdio: 'pipe' })
}
