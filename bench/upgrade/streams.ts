import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Lab } from '../../src/lab/lab.ts'
import type { StreamsReport, StreamsTask } from './messages.ts'

const MAIN = fileURLToPath(new URL('./streams-main.js', import.meta.url))

export type Streams = {
  report(): Promise<StreamsReport>
  close(): void
}

/** Opens the connections from a client of the lab; resolves when all are open. @throws Error when one cannot be opened */
export async function openStreams(
  lab: Pick<Lab, 'spawn'>,
  client: string,
  task: StreamsTask,
): Promise<Streams> {
  const child = lab.spawn(client, [process.execPath, MAIN, JSON.stringify(task)], {
    stdio: 'pipe',
    detached: true,
  })
  let errors = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-2000)
  })
  child.stdin?.on('error', () => {}) // It has ended, which the reading says.
  if (child.stdout === null) throw new Error('no output to read')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async (): Promise<StreamsReport> => {
    const { value, done } = await lines.next()
    if (done === true) throw new Error(`the program with the connections ended: ${errors.trim()}`)
    return JSON.parse(value) as StreamsReport
  }
  await next()
  return {
    report() {
      child.stdin?.write('\n')
      return next()
    },
    close: () => child.stdin?.end(),
  }
}
