// Adds to package-lock.json the optional platform packages that the registry at hand did not list when the lock was
// written: npm ci refuses a lock that lacks them, though it never installs those of other platforms.
import { readFileSync, writeFileSync } from 'node:fs'

const FILE = new URL('../package-lock.json', import.meta.url)
const SYSTEMS = ['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32']
const PROCESSORS = ['arm', 'arm64', 'ia32', 'ppc64', 'riscv64', 's390x', 'x64']

const lock = JSON.parse(readFileSync(FILE, 'utf8'))
let added = 0
for (const entry of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const path = `node_modules/${name}`
    if (lock.packages[path] !== undefined) continue
    const words = name.split('/').at(-1).split('-')
    const os = SYSTEMS.filter(each => words.includes(each))
    const cpu = PROCESSORS.filter(each => words.includes(each))
    if (os.length !== 1 || cpu.length !== 1) throw new Error(`${name}: which platform is that?`)
    const libc = words.some(word => word.startsWith('musl'))
      ? ['musl']
      : words.some(word => word.startsWith('gnu'))
        ? ['glibc']
        : undefined
    lock.packages[path] = { version, cpu, dev: true, ...(libc && { libc }), optional: true, os }
    added++
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)))
writeFileSync(FILE, `${JSON.stringify(lock, undefined, 2)}\n`)
console.log(`package-lock.json: ${added} platform packages added`)
