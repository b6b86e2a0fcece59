import type { ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { SpeakerStatus } from '../../api/speaker.ts'
import type { Lab } from '../lab.ts'
import { APART } from './spawn.ts'

/** Where speakers serve `GET /status`, on the loopback of their node. */
export const HEALTH_PORT = 17472

const MAIN = fileURLToPath(new URL('./speaker-status-main.js', import.meta.url))

/** Asks the speakers of a lab what they know and own, cheaply enough to do it often: one small process stays on each node. */
export type SpeakerReader = {
  /** undefined: this speaker does not answer (it is dead, frozen, or starts). */
  read(node: string): Promise<SpeakerStatus | undefined>
  /** By node name. */
  readAll(): Promise<ReadonlyMap<string, SpeakerStatus | undefined>>
  close(): void
}

export function openSpeakerReader(lab: Lab, nodes: readonly string[]): SpeakerReader {
  const relays = new Map(nodes.map(node => [node, relay(lab, node)]))
  const read = async (node: string): Promise<SpeakerStatus | undefined> => {
    const line = await relays.get(node)?.ask()
    // Our own program wrote it; a speaker that does not answer is `null`.
    return line === undefined ? undefined : ((JSON.parse(line) as SpeakerStatus | null) ?? undefined)
  }
  return {
    read,
    readAll: async () =>
      new Map(await Promise.all(nodes.map(async node => [node, await read(node)] as const))),
    close() {
      for (const { child } of relays.values()) child.stdin?.end()
    },
  }
}

type Relay = { readonly child: ChildProcess; ask(): Promise<string | undefined> }

function relay(lab: Lab, node: string): Relay {
  const child = lab.spawn(node, [process.execPath, MAIN], { ...APART, stdio: ['pipe', 'pipe', 'ignore'] })
  const waiting: ((line: string | undefined) => void)[] = []
  let over = false
  let rest = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) waiting.shift()?.(line)
  })
  const end = (): void => {
    over = true
    for (const resolve of waiting.splice(0)) resolve(undefined)
  }
  child.on('error', end)
  child.on('close', end)
  child.stdin?.on('error', () => {}) // It ended: 'close' says so.
  return {
    child,
    ask: () =>
      new Promise(resolve => {
        if (over) {
          resolve(undefined)
          return
        }
        waiting.push(resolve)
        child.stdin?.write('\n')
      }),
  }
}
