// What the documentation names exists: files, tests, flags. A name that was changed in the code fails here.
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..')
const FOLDERS = ['src', 'test', 'bench', 'docs', 'deploy', 'native', 'tools', 'examples', 'bin']

function filesIn(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => relative(ROOT, join(entry.parentPath, entry.name)).split(sep).join('/'))
}

const atTop = readdirSync(ROOT, { withFileTypes: true })
  .filter(entry => entry.isFile())
  .map(({ name }) => name)
const files = [...atTop, ...FOLDERS.flatMap(filesIn)]
const documents = files.filter(file => /^(?:docs\/.*|[^/]+)\.md$/.test(file)).sort()
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')

/** The parts in backticks, on one line each, and the lines of code blocks. */
function codeOf(text: string): { readonly inline: readonly string[]; readonly blocks: readonly string[] } {
  const blocks = [...text.matchAll(/^```.*\n([\s\S]*?)^```/gm)].map(match => match[1] ?? '')
  const rest = text.replaceAll(/^```.*\n[\s\S]*?^```/gm, '')
  const inline = [...rest.matchAll(/`([^`\n]+)`/g)].map(match => match[1] ?? '')
  const indented = rest.split('\n').filter(line => line.startsWith('    '))
  return { inline, blocks: [...blocks, ...indented] }
}

const EXTENSION = /\.(?:ts|md|mjs|js|c|h|yaml|json)$/

/** Whether somebody who writes this means a file or a folder of this repository. */
function looksLikePath(code: string): boolean {
  if (!/^[A-Za-z0-9_.*/-]+$/.test(code)) return false
  if (FOLDERS.some(folder => code.startsWith(`${folder}/`))) return true
  return EXTENSION.test(code) && /^[a-z0-9]/i.test(code)
}

/** A path from the root, or the end of one: `layer2/plan.ts`, `arp.test.ts`. `*` stands for anything but a slash. */
function exists(path: string): boolean {
  const name = path.replace(/\/$/, '')
  if (!name.includes('*')) {
    if (existsSync(join(ROOT, name))) return true
    return EXTENSION.test(name) && files.some(file => file.endsWith(`/${name}`))
  }
  const pattern = name.replaceAll(/[.]/g, '\\.').replaceAll('*', '[^/]*')
  return files.some(file => new RegExp(`(?:^|/)${pattern}$`).test(file))
}

/** What a user has at hand and this repository has not. */
const ELSEWHERE = new Set(['pool.yaml', 'new-pool.yaml', 'excludel2.yaml'])

test('every file that the documentation names exists', () => {
  let named = 0
  const missing: string[] = []
  for (const document of documents) {
    const text = read(document)
    for (const code of codeOf(text).inline) {
      if (!looksLikePath(code) || ELSEWHERE.has(code)) continue
      named++
      if (!exists(code)) missing.push(`${document}: ${code}`)
    }
    for (const [, target = ''] of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      named++
      if (!existsSync(join(ROOT, dirname(document), target))) missing.push(`${document}: ${target}`)
    }
  }
  assert(documents.length >= 15 && named >= 200, `saw only ${named} names in ${documents.length} documents`)
  assert.deepEqual(missing, [])
})

/** Titles, and the words that titles are made of in tables of cases. */
const tests = files.filter(file => /^(?:src|test|bench)\/.*\.ts$/.test(file))
const testTexts = tests
  .filter(file => (file.endsWith('.test.ts') || file.startsWith('test/')) && file !== 'test/docs.test.ts')
  .map(read)
const templates = testTexts.flatMap(text =>
  [...text.matchAll(/\btest\(\s*`([^`]*\$\{[^`]*)`/g)].map(match => {
    const parts = (match[1] ?? '').split(/\$\{[^}]*\}/)
    const literal = parts.map(part => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    return new RegExp(`^${literal.join('(.*)')}$`)
  }),
)

/** `…` stands for anything. What a template leaves open must be written in some test as well. */
function isTestTitle(title: string): boolean {
  if (isWritten(title)) return true
  return templates.some(template => template.exec(title)?.slice(1).every(isWritten) === true)
}

function isWritten(words: string): boolean {
  const parts = words.split('…').map(part => part.replaceAll(/^[\s,:]+|[\s,:]+$/g, ''))
  return parts.every(part => testTexts.some(text => text.includes(part)))
}

test('every test that docs/protocols/ names by its title exists', () => {
  let named = 0
  const missing: string[] = []
  for (const document of documents.filter(file => file.startsWith('docs/protocols/'))) {
    for (const line of read(document).split('\n')) {
      const cells = line.split(' | ')
      if (!line.startsWith('|') || cells.length < 3) continue
      for (const [, title = ''] of (cells.at(-1) ?? '').matchAll(/"([^"]+)"/g)) {
        named++
        if (!isTestTitle(title)) missing.push(`${document}: ${title}`)
      }
    }
  }
  assert(named >= 100, `saw only ${named} titles`)
  assert.deepEqual(missing, [])
})

/** Of other programs, which the documentation tells to run or to look at. */
const FOREIGN = new Set(['--for', '--cpu-prof'])

test('every flag that the documentation names exists', () => {
  const known = new Set<string>(['--help', '--version'])
  for (const file of files.filter(each => each.startsWith('src/cli/') && !each.endsWith('.test.ts'))) {
    for (const [, flag = ''] of read(file).matchAll(/(?:['"`]|-[a-z], )(--[a-z][a-z0-9-]*)/g)) known.add(flag)
  }
  for (const file of files.filter(each => /^(?:bench|tools)\/.*\.(?:ts|mjs)$/.test(each))) {
    for (const [, flag = ''] of read(file).matchAll(/^\s*'?([a-z][a-z0-9-]*)'?: \{ type: '/gm))
      known.add(`--${flag}`)
    for (const [, flags = ''] of read(file).matchAll(/options: \{(.*)\}/g))
      for (const [, flag = ''] of flags.matchAll(/'?([a-z][a-z0-9-]*)'?: \{ type/g)) known.add(`--${flag}`)
  }
  let named = 0
  const unknown: string[] = []
  for (const document of documents) {
    const { inline, blocks } = codeOf(read(document))
    for (const code of [...inline, ...blocks]) {
      for (const [flag] of code.matchAll(/(?<![\w-])--[a-z][a-z0-9-]*/g)) {
        named++
        if (!known.has(flag) && !FOREIGN.has(flag)) unknown.push(`${document}: ${flag}`)
      }
    }
  }
  assert(known.size >= 40 && named >= 40, `saw ${named} flags of ${known.size}`)
  assert.deepEqual(unknown, [])
})

test('what is looked for can be missing', () => {
  assert.equal(exists('src/layer2/no-such-file.ts'), false)
  assert.equal(exists('docs/adr/0005-*.md'), true)
  assert.equal(exists('docs/adr/9999-*.md'), false)
  assert.equal(isTestTitle('a test that was never written'), false)
  assert.equal(looksLikePath('metallb.io/address-pool'), false)
})
