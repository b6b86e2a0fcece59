// npm run bench -- NAME [--runs N] [--json FILE] [--dist DIR]: runs bench/NAME.ts, prints a table, writes one JSON shape.
import { accessSync, constants, existsSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const sources = join(root, 'bench')
/** What benchmarks share is in folders, and the frame. */
const names = readdirSync(sources)
  .filter(name => name.endsWith('.ts') && !name.endsWith('.test.ts') && name !== 'frame.ts')
  .map(name => name.slice(0, -'.ts'.length))

function refuse(message) {
  console.error(message)
  process.exit(2)
}

function options() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'string' },
        runs: { type: 'string' },
        dist: { type: 'string', default: join(root, 'dist') },
      },
    })
  } catch (error) {
    return refuse(`${error.message}\n${usage()}`)
  }
}

function usage() {
  return `usage: npm run bench -- NAME [--runs N] [--json FILE]\nbenchmarks: ${names.join(', ')}`
}

const { values, positionals } = options()
const [name] = positionals
if (name === undefined || positionals.length !== 1) refuse(usage())
if (!names.includes(name)) refuse(`there is no benchmark "${name}"\n${usage()}`)
const runs = values.runs === undefined ? undefined : Number(values.runs)
if (runs !== undefined && !(Number.isInteger(runs) && runs > 0)) {
  refuse(`--runs ${values.runs}: a whole number of at least 1 is needed`)
}
// Better now than after minutes of measuring.
if (values.json !== undefined) {
  try {
    accessSync(dirname(resolve(values.json)), constants.W_OK)
  } catch {
    refuse(`--json ${values.json}: its folder is not there or cannot be written`)
  }
}
const built = join(resolve(values.dist), 'bench')
if (!existsSync(join(built, 'frame.js')) || !existsSync(join(built, `${name}.js`))) {
  refuse('the benchmarks are not built: run npm run build first')
}

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    // Asked twice: what is left then goes when its owner, this process, is gone.
    if (stop.signal.aborted) process.exit(130)
    console.error(`\n${signal}: cleaning up`)
    stop.abort(new Error(`ended by ${signal}`))
  })
}
const { formatTable, runBench } = await import(pathToFileURL(join(built, 'frame.js')).href)
const { bench } = await import(pathToFileURL(join(built, `${name}.js`)).href)
console.log(`${name}: ${bench.title}`)
try {
  const report = await runBench(name, bench, {
    signal: stop.signal,
    ...(runs === undefined ? {} : { runs }),
  })
  console.log(formatTable(report.results))
  const { cpus, model, memoryMb, kernel, node } = report.machine
  console.log(`on ${cpus} x ${model}, ${memoryMb} MB, Linux ${kernel}, Node.js ${node}`)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
  process.exit(0)
} catch (error) {
  console.error(`${name}: ${error instanceof Error ? error.message : String(error)}`)
  if (!stop.signal.aborted && error instanceof Error && process.env.DEBUG) console.error(error.stack)
  process.exit(stop.signal.aborted ? 130 : 1)
}
