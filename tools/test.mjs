// Runs the built tests. Usage: node tools/test.mjs [--dist DIR] [--filter TEXT] unit|netns|lab ...
// unit: every *.test.js beside the code and in test/, imported into one process.
// netns: test/netns/*.test.js; lab: test/lab/*.test.js, one after the other, each in a process of its own.
// The lab lane mostly waits, so it runs beside the others; what a process says is shown when it has ended.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { dist: { type: 'string', default: 'dist' }, filter: { type: 'string', default: '' } },
})
const root = dirname(dirname(fileURLToPath(import.meta.url)))
const dist = resolve(values.dist)
if (!existsSync(dist)) throw new Error(`${values.dist} is missing: run npm run build first`)

/** Every test file under a folder whose source still exists (tsc leaves stale output behind). */
function testFiles(folder) {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true })
    .map(name => join(folder, String(name)))
    .filter(file => file.endsWith('.test.js'))
    .filter(file => existsSync(join(root, relative(dist, file).replace(/\.js$/, '.ts'))))
    .sort()
}

const LANES = {
  unit: () =>
    ['src', 'test', 'bench']
      .flatMap(folder => testFiles(join(dist, folder)))
      .filter(file => !/[/\\]test[/\\](netns|lab)[/\\]/.test(file)),
  netns: () => testFiles(join(dist, 'test/netns')),
  lab: () => testFiles(join(dist, 'test/lab')),
}

/** A test that takes longer hangs. */
const TIMEOUT_MS = { unit: 60_000, netns: 120_000, lab: 240_000 }

const counts = { passed: 0, failed: 0, skipped: 0 }
const scratch = mkdtempSync(join(tmpdir(), 'lodestone-test-'))

let runs = 0

/** One process that imports all these files. `quiet`: its output is held back until it ends, since others run beside it. */
function runFiles(lane, files, quiet) {
  const countFile = join(scratch, `counts-${runs++}`)
  const reporters = [
    ['spec', 'stdout'],
    [join(root, 'tools/test-counts.mjs'), countFile],
  ]
  const flags = reporters.flatMap(([name, to]) => [
    `--test-reporter=${name}`,
    `--test-reporter-destination=${to}`,
  ])
  return new Promise((done, fail) => {
    const child = spawn(
      process.execPath,
      [
        '--enable-source-maps',
        `--test-timeout=${TIMEOUT_MS[lane]}`,
        ...flags,
        join(root, 'tools/test-entry.mjs'),
        ...files,
      ],
      { stdio: ['ignore', quiet ? 'pipe' : 'inherit', quiet ? 'pipe' : 'inherit'] },
    )
    const said = []
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', chunk => said.push(chunk))
    child.on('error', fail)
    child.on('close', (code, signal) => {
      process.stdout.write(Buffer.concat(said))
      const seen = existsSync(countFile)
        ? readFileSync(countFile, 'utf8').trim().split('\n').filter(Boolean)
        : []
      rmSync(countFile, { force: true })
      let failedHere = 0
      for (const outcome of seen) {
        counts[outcome]++
        if (outcome === 'failed') failedHere++
      }
      if ((code !== 0 || seen.length === 0) && failedHere === 0) {
        console.log(`${files.join(' ')}: ended with ${signal ?? code} after ${seen.length} tests`)
        counts.failed++
      }
      done()
    })
  })
}

/** @returns the files of a lane, in the order in which they run */
function filesOf(lane) {
  const find = LANES[lane]
  if (find === undefined) throw new Error(`unknown lane ${lane}: one of ${Object.keys(LANES).join(', ')}`)
  const files = find().filter(file => file.includes(values.filter))
  if (files.length === 0 && values.filter === '') throw new Error(`lane ${lane} has no test file`)
  return files
}

async function runLanes(lanes, quiet) {
  for (const [lane, files] of lanes) {
    console.log(`# ${lane}: ${files.length} files`)
    if (lane === 'unit') await runFiles(lane, files, quiet)
    else for (const file of files) await runFiles(lane, [file], quiet)
  }
}

try {
  const lanes = (positionals.length === 0 ? ['unit'] : positionals)
    .map(lane => [lane, filesOf(lane)])
    .filter(([, files]) => files.length > 0)
  const labs = lanes.filter(([lane]) => lane === 'lab')
  const others = lanes.filter(([lane]) => lane !== 'lab')
  const quiet = labs.length > 0 && others.length > 0
  await Promise.all([runLanes(others, quiet), runLanes(labs, quiet)])
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
console.log(
  `${counts.passed} passed, ${counts.failed} failed${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''}`,
)
if (counts.failed > 0 || counts.passed === 0) process.exitCode = 1
