import { LabError } from './error.ts'
import { inNamespace } from './netns.ts'
import type { LabState } from './state.ts'
import { isAlive } from './state.ts'

/** A pod's namespace, as `lab status` shows it. */
const POD_NAMESPACE = /^pod\d+$/

/**
 * The command line that runs `argv` on a host of the lab, from outside of it; in the caller's folder where the lab sees it.
 * @throws LabError when the lab is gone or has no such host
 */
export function enterCommand(state: LabState, host: string, argv: readonly string[]): string[] {
  const { inner } = state
  if (inner === undefined || !isAlive(inner)) {
    throw new LabError('not-running', `lab ${state.name} is not running: start it with \`lodestone lab up\``)
  }
  if (!state.hosts.includes(host) && !POD_NAMESPACE.test(host)) {
    throw new LabError('bad-argument', `the lab has no host "${host}": it has ${state.hosts.join(', ')}`)
  }
  const there = ['sh', '-c', 'cd -- "$0" 2>/dev/null || cd /; exec "$@"', process.cwd(), ...argv]
  return [
    'nsenter',
    `--target=${inner.pid}`,
    // In there, the owner is root already: nsenter needs not become it, and may not.
    ...(state.userNamespace ? ['--user', '--preserve-credentials'] : []),
    '--mount',
    // Where the lab was started in a changed root, the mount namespace's own root is another one.
    '--root',
    '--net',
    `--pid=/proc/${inner.pid}/ns/pid_for_children`,
    '--',
    ...inNamespace(host, there),
  ]
}
