import { accessSync, constants, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { LabError } from './error.ts'
import { run } from './netns.ts'

/** The Debian package of each program that a lab calls. */
const PACKAGE_OF: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  bridge: 'iproute2',
  nft: 'nftables',
  unshare: 'util-linux',
  nsenter: 'util-linux',
  mount: 'util-linux',
}

/** The search path with the folders of administrator programs, which Debian leaves out for ordinary users. */
export function searchPath(path = process.env['PATH'] ?? ''): string {
  const folders = path.split(delimiter).filter(folder => folder !== '')
  for (const folder of ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin']) {
    if (!folders.includes(folder)) folders.push(folder)
  }
  return folders.join(delimiter)
}

/** The environment of all processes of a lab. */
export function labEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: searchPath() }
}

/** How to call unshare(1) for the namespaces of a lab, as the calling user. */
export type UnshareMode = { readonly userNamespace: boolean }

export function unshareCommand(mode: UnshareMode): string[] {
  return [
    'unshare',
    ...(mode.userNamespace ? ['--user', '--map-root-user'] : []),
    '--net',
    '--mount',
    '--pid',
    '--fork',
    '--mount-proc',
    '--kill-child',
  ]
}

/**
 * Finds out whether a lab can run here and how.
 * @throws LabError that says what to install or to allow
 */
export async function preflight(programs: readonly string[] = Object.keys(PACKAGE_OF)): Promise<UnshareMode> {
  const missing = programs.filter(program => !isInstalled(program))
  if (missing.length > 0) {
    const packages = [...new Set(missing.map(program => PACKAGE_OF[program] ?? program))]
    throw new LabError(
      'missing-program',
      `a lab needs ${missing.join(', ')}: install with \`apt-get install ${packages.join(' ')}\``,
    )
  }
  let refusal = ''
  // Root without the capability (a container) may still make a user namespace.
  for (const userNamespace of process.getuid?.() === 0 ? [false, true] : [true]) {
    const tried = await run([...unshareCommand({ userNamespace }), 'true'], '', labEnvironment())
    if (tried.code === 0) return { userNamespace }
    refusal ||= tried.stderr.trim()
  }
  throw new LabError(
    'not-permitted',
    `no network namespaces may be made here (${refusal}): ${whatToAllow(process.getuid?.() === 0, readSysctl)}`,
  )
}

/** What to change, for root or for others, by the kernel switches that are in the way. */
export function whatToAllow(root: boolean, sysctl: (name: string) => string | undefined): string {
  if (root) return 'this container lacks CAP_SYS_ADMIN, start it with --privileged'
  if (sysctl('kernel/unprivileged_userns_clone') === '0') {
    return 'user namespaces are off, run `sysctl -w kernel.unprivileged_userns_clone=1` as root'
  }
  if (sysctl('kernel/apparmor_restrict_unprivileged_userns') === '1') {
    return 'AppArmor forbids user namespaces, run `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root'
  }
  if (sysctl('user/max_user_namespaces') === '0') {
    return 'user namespaces are off, run `sysctl -w user.max_user_namespaces=10000` as root'
  }
  return 'run as root, or in a container with --privileged'
}

function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${name}`, 'utf8').trim()
  } catch {
    return undefined // This kernel has no such switch, so it is not in the way.
  }
}

/** Is there such a program, for root or for anybody? */
export function isInstalled(program: string): boolean {
  return searchPath()
    .split(delimiter)
    .some(folder => {
      try {
        accessSync(join(folder, program), constants.X_OK)
        return true
      } catch {
        return false // Not in this folder.
      }
    })
}
