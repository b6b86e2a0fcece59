import type { LabShape } from './topology.ts'

/** What the outer process is told, as JSON in its first argument. */
export type OuterConfig = LabShape & {
  readonly name: string
  /** Where the lab keeps its files. */
  readonly folder: string
  readonly userNamespace: boolean
  /** Only the network: no API server, no speakers, no pods. */
  readonly bare: boolean
  readonly commands: LabCommands
  /** How long the daemon may take until everything is ready, ms. */
  readonly readyWithinMs: number
}

/** What the inner daemon is told, as JSON in its first argument. */
export type DaemonConfig = OuterConfig & {
  /** The port on the host's loopback that leads to the API server. */
  readonly hostPort: number
}

/** The programs of the system under test; their own flags follow. */
export type LabCommands = { readonly speaker: readonly string[]; readonly controller: readonly string[] }

/** What the outer process and the daemon say on stdout, one JSON object a line. */
export type LabEvent =
  | { readonly event: 'progress'; readonly text: string }
  | { readonly event: 'ready' }
  | { readonly event: 'failed'; readonly message: string }

/** What the caller writes to the outer process once the lab shall outlive it. */
export const KEEP = 'keep\n'

/** Reads events from a stream of lines; what is no event is passed over. */
export function parseEvents(onEvent: (event: LabEvent) => void): (chunk: string) => void {
  let rest = ''
  return chunk => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line.startsWith('{"event":')) onEvent(JSON.parse(line) as LabEvent)
    }
  }
}
