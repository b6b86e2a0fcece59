import { spawn } from 'node:child_process'
import { type Nft, NftError } from '../ports/nft.ts'

export type NftOptions = {
  /** A named network namespace, as `ip netns` knows it; absent: that of this process. */
  readonly netns?: string
  /** The program; for tests. */
  readonly program?: string
}

/** A transaction that takes longer than this is stuck. */
const TIMEOUT_MS = 60_000
/** Of a long complaint only the beginning is kept. */
const STDERR_MAX = 4000

/** {@link Nft} by the program `nft`: one process for each transaction, which reads it from standard input. */
export function createNft(options: NftOptions = {}): Nft {
  const program = options.program ?? 'nft'
  const command = options.netns === undefined ? [program] : ['ip', 'netns', 'exec', options.netns, program]
  return {
    async apply(transaction) {
      const result = await run([...command, '-f', '-'], transaction)
      if (result.status !== 0) throw refusal(result)
    },
    async listTable(family, name, { elementsOf } = {}) {
      const list = async (args: readonly string[]): Promise<string | undefined> => {
        const result = await run([...command, ...args], '')
        if (result.status === 0) return result.stdout
        if (/No such file or directory/.test(result.stderr) && /^list (table|map)/m.test(result.stderr))
          return undefined
        throw refusal(result)
      }
      if (elementsOf === undefined) return list(['list', 'table', family, name])
      const outline = await list(['-t', 'list', 'table', family, name])
      if (outline === undefined) return undefined
      // A process each: nft 1.0.6 finds only the last of several maps that it is asked for in one go.
      const maps = await Promise.all(elementsOf.map(map => list(['list', 'map', family, name, map])))
      return [outline, ...maps].join('')
    },
  }
}

type Result = { readonly status: number | null; readonly stdout: string; readonly stderr: string }

function refusal(result: Result): NftError {
  const said = result.stderr.trim().slice(0, STDERR_MAX)
  if (/exec of .* failed: No such file or directory/.test(said)) return notInstalled('nft', 'nftables')
  if (/Operation not permitted|you must be root/i.test(said)) {
    return new NftError(
      'not-permitted',
      `nft may not change the packet filter: the process needs the capability CAP_NET_ADMIN (nft said: ${said})`,
    )
  }
  if (result.status === null) return new NftError('refused', `nft did not end within ${TIMEOUT_MS / 1000} s`)
  return new NftError(
    'refused',
    `nft refused the transaction: ${said === '' ? `status ${result.status}` : said}`,
  )
}

function notInstalled(program: string, debianPackage: string, cause?: unknown): NftError {
  return new NftError(
    'not-installed',
    `the program ${program} is missing: install it, on Debian the package ${debianPackage}`,
    cause === undefined ? undefined : { cause },
  )
}

function run(command: readonly string[], input: string): Promise<Result> {
  const [program = '', ...args] = command
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    })
    const stuck = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS)
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (stderr.length < STDERR_MAX) stderr += text
    })
    // EPIPE: it ended before reading everything; its status and stderr tell why.
    child.stdin.on('error', () => {})
    child.on('error', cause => {
      clearTimeout(stuck)
      const missing = 'code' in cause && cause.code === 'ENOENT'
      if (missing && program === 'ip') reject(notInstalled('ip', 'iproute2', cause))
      else if (missing) reject(notInstalled('nft', 'nftables', cause))
      else reject(new NftError('refused', `nft could not be started: ${cause.message}`, { cause }))
    })
    child.on('close', status => {
      clearTimeout(stuck)
      resolve({ status, stdout, stderr })
    })
    child.stdin.end(input)
  })
}
