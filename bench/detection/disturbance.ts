import { type ChildProcess, spawn } from 'node:child_process'
import { cpus } from 'node:os'
import type { Lab } from '../../src/lab/lab.ts'
import type { Scope } from '../frame.ts'

/** The switch loses one of a hundred frames on its way to each host, whatever they carry. */
const LOSS = `table bridge loss {
  chain pass {
    type filter hook forward priority 0
    numgen random mod 100 < 1 drop
  }
}
`

/** Loses frames at random for as long as the lab lives. @throws Error when nft refuses */
export async function loseFrames(lab: Pick<Lab, 'exec'>): Promise<void> {
  const { code, stderr } = await lab.exec('switch', ['nft', '-f', '-'], LOSS)
  if (code !== 0) throw new Error(`nft: ${stderr.trim()}`)
}

/** Keeps every processor busy until the function is called that it returns. */
export function stress(scope: Pick<Scope, 'defer'>): () => void {
  const busy: ChildProcess[] = cpus().map(() =>
    spawn(process.execPath, ['-e', 'const end = Date.now() + 600_000; while (Date.now() < end);'], {
      stdio: 'ignore',
    }),
  )
  const end = (): void => {
    for (const child of busy) child.kill('SIGKILL')
  }
  scope.defer(end)
  return end
}
