import { type ExecFileException, execFile } from 'node:child_process'
import { type Ip, isIpv4, parseIp } from '../addr/ip.ts'
import { type Conntrack, ConntrackError, type ConntrackFlow, type FlowSelector } from '../ports/conntrack.ts'

const OUTPUT_BYTES_MAX = 256 * 1024 * 1024

/** Connection tracking through Debian's `conntrack` tool, one process for each call. Needs CAP_NET_ADMIN. */
export class ConntrackTool implements Conntrack {
  readonly #prefix: readonly string[]

  /** @param prefix a command that runs its arguments elsewhere, for example `ip netns exec node1`; none: here */
  constructor(prefix: readonly string[] = []) {
    this.#prefix = prefix
  }

  async list(protocol: 'UDP' | 'SCTP'): Promise<ConntrackFlow[]> {
    const flows: ConntrackFlow[] = []
    for (const family of ['ipv4', 'ipv6']) {
      const { stdout } = await this.#run(['-L', '-f', family, '-p', protocol.toLowerCase()])
      flows.push(...parseConntrack(protocol, stdout))
    }
    return flows
  }

  async flush(selector: FlowSelector): Promise<number> {
    const { originalDestination: to, replySource: from } = selector
    const { stderr } = await this.#run([
      '-D',
      '-f',
      isIpv4(to.ip) ? 'ipv4' : 'ipv6',
      '-p',
      selector.protocol.toLowerCase(),
      '--orig-dst',
      to.ip,
      '--orig-port-dst',
      String(to.port),
      ...(from === undefined ? [] : ['--reply-src', from.ip, '--reply-port-src', String(from.port)]),
    ])
    return Number(/(\d+) flow entries have been deleted/.exec(stderr)?.[1] ?? 0)
  }

  #run(args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
    const [command = 'conntrack', ...rest] = [...this.#prefix, 'conntrack', ...args]
    return new Promise((resolve, reject) => {
      execFile(command, rest, { encoding: 'utf8', maxBuffer: OUTPUT_BYTES_MAX }, (error, stdout, stderr) => {
        // Deleting nothing ends with status 1 and this sentence.
        if (error === null || /\b0 flow entries have been deleted/.test(stderr)) resolve({ stdout, stderr })
        else reject(failure(error, stderr))
      })
    })
  }
}

function failure(cause: ExecFileException, stderr: string): ConntrackError {
  const said = stderr.trim()
  if (cause.code === 'ENOENT') {
    return new ConntrackError('not-installed', 'conntrack is missing: install the package conntrack', {
      cause,
    })
  }
  if (/permitted|you need to be root/i.test(said)) {
    return new ConntrackError('not-permitted', `conntrack needs CAP_NET_ADMIN: ${said}`, { cause })
  }
  return new ConntrackError('refused', `conntrack failed: ${said === '' ? cause.message : said}`, { cause })
}

/**
 * The lines of `conntrack -L`: two tuples each, that of the first packet, then that of the answers. Lines of another shape are skipped.
 */
export function parseConntrack(protocol: 'UDP' | 'SCTP', output: string): ConntrackFlow[] {
  const flows: ConntrackFlow[] = []
  for (const line of output.split('\n')) {
    if (!line.startsWith(`${protocol.toLowerCase()} `)) continue
    const tuples = [...line.matchAll(/src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/g)]
    const original = tuples[0] && ends(tuples[0])
    const reply = tuples[1] && ends(tuples[1])
    if (original === undefined || reply === undefined) continue
    flows.push({
      protocol,
      originalSource: original.source,
      originalDestination: original.destination,
      replySource: reply.source,
    })
  }
  return flows
}

function ends(match: RegExpMatchArray) {
  const source = parseIp(match[1] ?? '')
  const destination = parseIp(match[2] ?? '')
  if (source === undefined || destination === undefined) return undefined
  const end = (ip: Ip, port: string | undefined) => ({ ip, port: Number(port) })
  return { source: end(source, match[3]), destination: end(destination, match[4]) }
}
