import { InvalidArgumentError, Option } from 'commander'
import { type Ip, parseIp } from '../addr/ip.ts'
import type { LogLevel } from '../ports/log.ts'

/** Parsers and options that several commands share. Defaults come from MetalLB's variables where it has them (metallb.md 1.6, 1.7). */

export function integer(min: number, max: number): (text: string) => number {
  return text => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`A whole number from ${min} to ${max} is needed.`)
    }
    return value
  }
}

/** Milliseconds of a duration such as `20ms`, `90s`, `15m`, `2160h` or `0`. */
export function duration(minMs: number, maxMs = Number.POSITIVE_INFINITY): (text: string) => number {
  return text => {
    const [, digits = '', unit = ''] = /^(\d{1,9})(ms|s|m|h)$/.exec(text === '0' ? '0s' : text) ?? []
    const value = Number(digits) * ({ ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit] ?? Number.NaN)
    if (!(value >= minMs && value <= maxMs)) {
      const most = maxMs === Number.POSITIVE_INFINITY ? '' : ` and at most ${maxMs / 1000}s`
      throw new InvalidArgumentError(
        `A duration such as 20ms, 90s, 15m or 2160h is needed, at least ${minMs / 1000}s${most}.`,
      )
    }
    return value
  }
}

export function address(text: string): Ip {
  const ip = parseIp(text)
  if (ip === undefined) throw new InvalidArgumentError('An IP address is needed.')
  return ip
}

/** For options that are true when they are given without a value, as Go programs have them. */
export function boolean(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  throw new InvalidArgumentError('It is true or false.')
}

export function kubeconfigOption(): Option {
  return new Option(
    '--kubeconfig <file>',
    'how to reach the API server (default: $KUBECONFIG, ~/.kube/config, in-cluster)',
  )
}

export function namespaceOption(): Option {
  return new Option('--namespace <namespace>', 'where the metallb.io resources are')
    .env('METALLB_NAMESPACE')
    .default('metallb-system')
}

export function lbClassOption(): Option {
  return new Option(
    '--lb-class <class>',
    'handle only Services of this loadBalancerClass (default: only those without one)',
  )
}

export function logLevelOption(): Option {
  return new Option('--log-level <level>', 'what to log')
    .choices(['debug', 'info', 'warn', 'error'] satisfies LogLevel[])
    .default('info')
}

export function secretNameOption(): Option {
  return new Option('--ml-secret-name <name>', 'Secret that holds the key of the heartbeats between speakers')
    .env('METALLB_ML_SECRET_NAME')
    .default('memberlist')
}

export function healthPortOption(): Option {
  return new Option(
    '--health-probe-port <port>',
    '/healthz, /readyz, /metrics and /status on the loopback address',
  )
    .argParser(integer(0, 65535))
    .default(17472)
}

/** Aborts at the first SIGTERM or SIGINT; a second one ends the process at once. */
export function stopSignal(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(1)
      controller.abort()
    })
  }
  return controller.signal
}

export function nodeHealthOption(): Option {
  return new Option(
    '--node-health <rule>',
    'prefer: nodes that are NotReady, cordoned or out of service announce at layer 2 only when no other can; ignore: as MetalLB',
  ).choices(['prefer', 'ignore'])
}

export function subnetElectionOption(): Option {
  return new Option(
    '--subnet-election <boolean>',
    'true: where nodes have an interface in the subnet of an address, only those announce it; false: as MetalLB',
  ).argParser(boolean)
}
