import type { ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { PodNetwork } from './network.ts'

/** A health check over the network, made from the namespace of the pod's node. */
export type Check = {
  readonly type: 'http' | 'tcp'
  readonly host: string
  readonly port: number
  readonly timeoutMs: number
  /** http only. */
  readonly path?: string
  readonly scheme?: 'http' | 'https'
  readonly headers?: Readonly<Record<string, string>>
}

export type CheckResult = { readonly ok: boolean; readonly message: string }

/** One line each way between the prober and its helper process. */
export type CheckLine = Check & { readonly id: number }
export type ResultLine = CheckResult & { readonly id: number }

/** Makes the checks of one node. */
export interface Prober {
  /** Never rejects. */
  check(check: Check): Promise<CheckResult>
  close(): void
}

const MAIN = fileURLToPath(new URL('./prober-main.js', import.meta.url))

/**
 * A process that lives in the node's namespace and checks what it is told to, because a process for each check would cost more
 * than the check. It is started for the first check, and again when it died; it ends when its input does.
 */
export function nodeProber(network: Pick<PodNetwork, 'spawnIn'>, namespace: string): Prober {
  let child: ChildProcess | undefined
  let closed = false
  let nextId = 0
  const waiting = new Map<number, (result: CheckResult) => void>()

  function helper(): ChildProcess {
    if (child !== undefined) return child
    const argv = [process.execPath, '--max-semi-space-size=1', '--max-old-space-size=64', MAIN]
    const started = network.spawnIn(namespace, argv, { stdio: ['pipe', 'pipe', 'inherit'] })
    child = started
    let rest = ''
    started.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const { id, ok, message } = JSON.parse(line) as ResultLine
        waiting.get(id)?.({ ok, message })
        waiting.delete(id)
      }
    })
    const gone = (why: string): void => {
      if (child !== started) return
      child = undefined
      for (const answer of waiting.values()) answer({ ok: false, message: why })
      waiting.clear()
    }
    started.on('error', error => gone(error.message))
    started.on('exit', () => gone('the prober of this node ended'))
    started.stdin?.on('error', error => gone(error.message))
    return started
  }

  return {
    check(check) {
      if (closed) return Promise.resolve({ ok: false, message: 'closed' })
      const id = nextId++
      const line: CheckLine = { ...check, id }
      return new Promise(done => {
        waiting.set(id, done)
        helper().stdin?.write(`${JSON.stringify(line)}\n`)
      })
    },
    close() {
      closed = true
      child?.kill('SIGKILL')
    },
  }
}
