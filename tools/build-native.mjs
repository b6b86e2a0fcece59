// Builds native/lodestone.c into native/build/lodestone.node with the C compiler of the system: run by npm's "install" script.
// Downloads nothing: the headers of Node-API come with the npm package node-api-headers, and Node-API is the same for every
// version of Node.js. Skips when what is there was built from this source with these flags and loads. `--check` compiles only, warnings are errors.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const WHAT_TO_INSTALL = 'on Debian: apt-get install gcc libc6-dev'
const root = dirname(dirname(fileURLToPath(import.meta.url)))
const source = join(root, 'native/lodestone.c')
const build = join(root, 'native/build')
const output = join(build, 'lodestone.node')
const stamp = join(build, 'lodestone.stamp')
const checkOnly = process.argv.includes('--check')

function fail(sentence) {
  console.error(`lodestone: ${sentence}`)
  process.exit(1)
}

/** The compiler as command and leading arguments. */
function findCompiler() {
  const candidates = [process.env.CC, 'cc', 'gcc', 'clang'].filter(Boolean)
  for (const candidate of candidates) {
    const [command, ...args] = candidate.split(/\s+/)
    if (spawnSync(command, [...args, '--version']).status === 0) return { command, args }
  }
  return undefined
}

function includeDirectory() {
  try {
    return createRequire(import.meta.url)('node-api-headers').include_dir
  } catch {
    return fail(
      'the npm package node-api-headers is missing, so the native addon cannot be built: run npm ci',
    )
  }
}

/** It is there, of this source, and this Node.js can load it (not so after the folder moved to another C library). */
function upToDate() {
  if (!existsSync(output) || !existsSync(stamp) || readFileSync(stamp, 'utf8') !== digest) return false
  try {
    createRequire(import.meta.url)(output)
    return true
  } catch {
    return false
  }
}

if (process.platform !== 'linux') fail(`the native addon needs Linux, this is ${process.platform}`)
const flags = [
  '-std=gnu11',
  '-O2',
  '-Wall',
  '-Wextra',
  '-fPIC',
  '-fvisibility=hidden',
  '-fno-strict-aliasing',
]
const digest = createHash('sha256')
  .update([readFileSync(source, 'utf8'), flags.join(' '), process.arch].join('\0'))
  .digest('hex')
if (!checkOnly && upToDate()) process.exit(0)

const compiler = findCompiler()
if (compiler === undefined) {
  fail(`no C compiler (cc, gcc or clang) was found, so the native addon cannot be built; ${WHAT_TO_INSTALL}`)
}
const include = includeDirectory()

mkdirSync(build, { recursive: true })
// A new file moved into place: a process that has the old one loaded keeps it.
const scratch = join(build, `lodestone.${process.pid}.tmp`)
const target = checkOnly ? ['-Werror', '-fsyntax-only'] : ['-shared', '-o', scratch]
const result = spawnSync(
  compiler.command,
  [...compiler.args, ...flags, '-isystem', include, ...target, source],
  {
    encoding: 'utf8',
  },
)
if (result.status !== 0) {
  rmSync(scratch, { force: true })
  const said = result.stderr ?? ''
  if (
    /(stdio|errno|stdlib|linux\/filter|sys\/socket)\.h[:'\s].*(no such file|not found)|crt[1i]\.o/i.test(said)
  ) {
    fail(
      `the headers of the C library or of the kernel are missing, so the native addon cannot be built; ${WHAT_TO_INSTALL}`,
    )
  }
  process.stderr.write(said)
  fail(
    `${compiler.command} could not compile native/lodestone.c (${result.error?.message ?? `status ${result.status}`})`,
  )
}
process.stderr.write(result.stderr)
if (!checkOnly) {
  renameSync(scratch, output)
  writeFileSync(stamp, digest)
}
