// npm run bench -- NAME [--json FILE] [--runs N] [--dist DIR]: runs bench/NAME.ts, prints a table, writes one JSON shape.
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'string' },
    runs: { type: 'string' },
    dist: { type: 'string', default: join(root, 'dist') },
  },
})
const folder = join(resolve(values.dist), 'bench')
const names = readdirSync(join(root, 'bench'))
  .filter(name => name.endsWith('.ts') && !name.endsWith('.test.ts') && name !== 'frame.ts')
  .map(name => name.slice(0, -3))
const [name] = positionals
if (name === undefined || !names.includes(name) || positionals.length !== 1) {
  console.error(`usage: npm run bench -- NAME [--runs N] [--json FILE]\nbenchmarks: ${names.join(', ')}`)
  process.exit(2)
}
const runs = values.runs === undefined ? undefined : Number(values.runs)
if (runs !== undefined && !(Number.isInteger(runs) && runs > 0)) {
  console.error(`--runs ${values.runs}: a whole number of at least 1 is needed`)
  process.exit(2)
}
if (!existsSync(join(folder, 'frame.js'))) {
  console.error('the benchmarks are not built: run npm run build first')
  process.exit(2)
}
const { runBench } = await import(pathToFileURL(join(folder, 'frame.js')).href)
const { bench } = await import(pathToFileURL(join(folder, `${name}.js`)).href)
const result = await runBench(name, bench, runs)
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, undefined, 2)}\n`)
