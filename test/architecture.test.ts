// Which folder of src/ may import which. The table is the architecture; an import that it does not list fails.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, posix, relative, sep } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..')

type Rule = {
  /** Folders of src/ besides its own. */
  readonly folders: readonly string[] | 'all'
  /** Pure: of Node only node:assert and node:crypto, and no package. Its tests may use more. */
  readonly pure: boolean
}

const SHELL_FOLDERS = ['app', 'cli', 'lab']

const RULES: Readonly<Record<string, Rule>> = {
  addr: pure(),
  ports: pure('addr'),
  wire: pure('addr'),
  bfd: pure('addr', 'ports', 'wire'),
  bgp: pure('addr', 'config', 'ports', 'wire'),
  vrrp: pure('addr', 'ports', 'wire'),
  membership: pure('addr', 'ports', 'wire'),
  layer2: pure('addr', 'config', 'membership', 'ports', 'wire'),
  config: pure('addr', 'ports'),
  allocator: pure('addr', 'config', 'ports'),
  plan: pure('addr', 'allocator', 'api', 'bgp', 'config', 'layer2', 'ports'),
  dataplane: pure('addr', 'ports'),
  gateway: pure('addr', 'config', 'ports'),
  webhook: pure('addr', 'config', 'ports'),
  api: pure('addr', 'ports'),
  kube: { folders: ['ports'], pure: false },
  sys: { folders: ['addr', 'ports', 'wire'], pure: false },
  app: { folders: domainsAnd('api', 'kube', 'sys'), pure: false },
  cli: {
    folders: [
      'addr',
      'allocator',
      'api',
      'app',
      'bgp',
      'config',
      'kube',
      'lab',
      'layer2',
      'plan',
      'ports',
      'sys',
    ],
    pure: false,
  },
  lab: { folders: 'all', pure: false },
}

function pure(...folders: string[]): Rule {
  return { folders, pure: true }
}

function domainsAnd(...others: string[]): string[] {
  const protocols = ['bfd', 'bgp', 'layer2', 'membership', 'vrrp', 'wire']
  return ['addr', 'allocator', 'config', 'dataplane', 'gateway', 'ports', 'webhook', ...protocols, ...others]
}

const PURE_BUILTINS = new Set(['node:assert', 'node:assert/strict', 'node:crypto'])

/**
 * Every module that the text names: static, type-only, re-exporting, for the side effect, dynamic, and as a type. A dynamic import
 * of something computed comes out as ''.
 */
function importsOf(text: string): string[] {
  const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*/g, '$1')
  const named = [...code.matchAll(/^\s*(?:import|export)\s[^'"`;()]*?\bfrom\s*(['"])(.*?)\1/gm)]
  const bare = [...code.matchAll(/^\s*import\s*(['"])(.*?)\1/gm)]
  const dynamic = [...code.matchAll(/\bimport\s*\(\s*(?:(['"])(.*?)\1)?/g)]
  return [...named, ...bare, ...dynamic].map(match => match[2] ?? '')
}

/** What is wrong with a file, a sentence for each import. `file` is relative to src/, with slashes. */
function violations(file: string, text: string): string[] {
  const isTest = file.endsWith('.test.ts')
  const [folder = '', ...rest] = file.split('/')
  const rule = RULES[folder]
  if (rest.length === 0 || rule === undefined) return [`${file}: ${folder} is no folder of the architecture`]
  const found: string[] = []
  for (const specifier of importsOf(text)) {
    const problem = specifier.startsWith('.')
      ? relativeProblem(posix.join('src', posix.dirname(file), specifier), folder, rule, isTest)
      : packageProblem(specifier, rule, isTest)
    if (problem !== undefined) found.push(`${file} imports '${specifier}': ${problem}`)
  }
  return found
}

function relativeProblem(target: string, folder: string, rule: Rule, isTest: boolean): string | undefined {
  const [top, into = '', ...rest] = target.split('/')
  if (top !== 'src') return isTest && top === 'test' ? undefined : 'outside of src'
  if (!target.endsWith('.ts') || rest.length === 0) return 'no file of a folder of src'
  if (RULES[into] === undefined) return `${into} is no folder of the architecture`
  if (into === folder || rule.folders === 'all' || rule.folders.includes(into)) return undefined
  return `${folder} may import ${rule.folders.length === 0 ? 'nothing' : rule.folders.join(', ')}`
}

function packageProblem(specifier: string, rule: Rule, isTest: boolean): string | undefined {
  if (specifier === '') return 'computed, so nobody can check it'
  if (builtinModules.includes(specifier)) return 'modules of Node are written with node:'
  if (isTest || !rule.pure || PURE_BUILTINS.has(specifier)) return undefined
  return 'a pure folder imports only node:assert and node:crypto'
}

const files = readdirSync(join(ROOT, 'src'), { recursive: true, withFileTypes: true })
  .filter(entry => entry.isFile() && entry.name.endsWith('.ts'))
  .map(entry => relative(join(ROOT, 'src'), join(entry.parentPath, entry.name)).split(sep).join('/'))
  .sort()

test('every import in src/ follows the table', () => {
  let imports = 0
  const found: string[] = []
  for (const file of files) {
    const text = readFileSync(join(ROOT, 'src', file), 'utf8')
    imports += importsOf(text).length
    found.push(...violations(file, text))
  }
  assert(files.length >= 30, `saw only ${files.length} files`)
  assert(imports >= 2 * files.length, `saw only ${imports} imports in ${files.length} files`)
  for (const folder of ['addr', 'wire', 'ports', 'layer2', 'sys', 'app']) {
    assert(
      files.some(file => file.startsWith(`${folder}/`)),
      `saw no file in ${folder}`,
    )
  }
  assert.deepEqual(found, [])
})

test('every import statement is seen: their number is that of the lines that look like one', () => {
  for (const file of files) {
    const text = readFileSync(join(ROOT, 'src', file), 'utf8')
    const lines = text.split('\n').filter(line => /^(?:import\b|\} from ')/.test(line))
    const statements = lines.filter(line => !/^import (?:type )?\{$/.test(line)).length
    assert(importsOf(text).length >= statements, `${file}: ${importsOf(text).length} of ${statements}`)
  }
})

test('the table itself: only the shells know kube and sys, and it has no cycle', () => {
  for (const [folder, { folders }] of Object.entries(RULES)) {
    if (SHELL_FOLDERS.includes(folder)) continue
    assert(folders !== 'all', folder)
    for (const other of folders) {
      assert(other !== 'kube' && other !== 'sys' && !SHELL_FOLDERS.includes(other), `${folder} -> ${other}`)
    }
  }
  const reach = (from: string, seen: ReadonlySet<string>): void => {
    assert(!seen.has(from), `a cycle through ${[...seen].join(' -> ')} -> ${from}`)
    const folders = RULES[from]?.folders ?? []
    // The lab runs the shells, and the command line starts the lab.
    if (folders === 'all') return
    for (const other of folders) reach(other, new Set([...seen, from]))
  }
  for (const folder of Object.keys(RULES)) reach(folder, new Set())
})

test('the table in ARCHITECTURE.md is this one', () => {
  const present = [...new Set(files.map(file => file.split('/')[0] ?? ''))].sort()
  const documented = new Map<string, string>()
  const text = readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8')
  for (const [, folder = '', may = ''] of text.matchAll(/^\| `src\/(\w+)` \|.*\| ([^|]+) \|$/gm)) {
    const all = present.filter(each => each !== folder)
    const names = may.split(' ')
    const but = may === 'all' ? [] : names.slice(2)
    const wanted = may.startsWith('all') ? all.filter(each => !but.includes(each)) : names
    documented.set(folder, may === 'nothing' ? '' : wanted.sort().join(' '))
  }
  const expected = new Map<string, string>()
  for (const folder of present) {
    const folders = RULES[folder]?.folders ?? []
    const all = folders === 'all' ? present.filter(each => each !== folder) : folders
    expected.set(
      folder,
      [...all]
        .filter(each => present.includes(each))
        .sort()
        .join(' '),
    )
  }
  assert.deepEqual(Object.fromEntries(documented), Object.fromEntries(expected))
})

/** What the check must find; an empty answer is what it must accept. */
const CASES: readonly (readonly [file: string, text: string, problem: string])[] = [
  ['wire/arp.ts', "import { x } from '../addr/ip.ts'", ''],
  ['wire/arp.ts', "import assert from 'node:assert/strict'\nimport { hkdf } from 'node:crypto'", ''],
  [
    'wire/arp.test.ts',
    "import { test } from 'node:test'\nimport { h } from '../../test/golden/frames.ts'",
    '',
  ],
  ['lab/apiserver/store.ts', "import { x } from '../../kube/client.ts'", ''],
  ['lab/apiserver/store.ts', "import { x } from '../pods.ts'", ''],
  ['app/speaker.ts', "import { x } from '../sys/nft.ts'\nimport 'node:fs'", ''],
  ['cli/lab.ts', "const { x } = await import('../lab/lab.ts')", ''],
  ['wire/arp.ts', "// import { x } from '../sys/nft.ts'\n/* import '../kube/x.ts' */", ''],
  ['addr/ip.ts', "import type { X } from '../wire/arp.ts'", 'addr may import nothing'],
  ['wire/arp.ts', "import {\n  x,\n  y,\n} from '../sys/nft.ts'", 'wire may import addr'],
  ['wire/arp.ts', "export { x } from '../kube/client.ts'", 'wire may import addr'],
  ['wire/arp.ts', "export * from '../kube/client.ts'", 'wire may import addr'],
  ['wire/arp.ts', "import '../layer2/machine.ts'", 'wire may import addr'],
  ['wire/arp.ts', "type X = import('../app/x.ts').X", 'wire may import addr'],
  ['wire/arp.test.ts', "import { x } from '../sys/nft.ts'", 'wire may import addr'],
  ['wire/arp.ts', "import { x } from '../../test/golden/frames.ts'", 'outside of src'],
  ['wire/arp.test.ts', "import { x } from '../../bench/frame.ts'", 'outside of src'],
  ['wire/arp.ts', "import { readFileSync } from 'node:fs'", 'a pure folder imports only'],
  ['config/parse.ts', "import { parse } from 'yaml'", 'a pure folder imports only'],
  ['sys/nft.ts', "import { readFileSync } from 'fs'", 'written with node:'],
  ['sys/nft.ts', 'await import(name)', 'nobody can check it'],
  ['kube/client.ts', "import { x } from '../sys/nft.ts'", 'kube may import ports'],
  ['app/speaker.ts', "import { x } from '../lab/lab.ts'", 'app may import'],
  ['app/speaker.ts', "import { x } from '../utils/x.ts'", 'utils is no folder of the architecture'],
  ['app/speaker.ts', "import { x } from '../wire/arp.js'", 'no file of a folder of src'],
  ['utils/x.ts', '', 'utils is no folder of the architecture'],
  ['main.ts', '', 'main.ts is no folder of the architecture'],
]
for (const [file, text, problem] of CASES) {
  test(`${file} with ${JSON.stringify(text)} is ${problem === '' ? 'accepted' : 'refused'}`, () => {
    const found = violations(file, text)
    if (problem === '') assert.deepEqual(found, [])
    else assert(found.length === 1 && found[0]?.includes(problem), JSON.stringify(found))
  })
}
