// The page about plan and explain shows what these commands print: each of its examples is run and compared. With UPDATE_DOCS=1 in the
// environment the page is written anew instead.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { explainCommand } from '../src/cli/explain.ts'
import { planCommand } from '../src/cli/plan.ts'

const DOCS = fileURLToPath(new URL('../../docs/', import.meta.url))
const FOLDER = join(DOCS, 'plan-and-explain')

const PAGE = join(DOCS, 'plan-and-explain.md')
const page = readFileSync(PAGE, 'utf8')
const examples = [...page.matchAll(/^```console\n\$ lodestone (.*)\n([\s\S]*?)^```$/gm)].map(
  ([, command = '', printed = '']) => ({ command, printed }),
)

test('the page has its examples', () => {
  assert.ok(examples.length >= 8, `only ${examples.length}`)
})

for (const { command, printed } of examples) {
  test(`the page shows what this prints: lodestone ${command}`, async () => {
    const lines: string[] = []
    const io = {
      out: (text: string) => lines.push(text),
      err: (text: string) => lines.push(text),
      exit: () => {},
    }
    const program = new Command().addCommand(planCommand(io)).addCommand(explainCommand(io))
    const argv = command.split(' ').map(word => (word.endsWith('.yaml') ? join(FOLDER, word) : word))
    await program.parseAsync(argv, { from: 'user' })
    const prints = `${lines.join('\n')}\n`
    if (process.env['UPDATE_DOCS'] === '1') {
      const block = (text: string): string => `$ lodestone ${command}\n${text}\`\`\``
      writeFileSync(
        PAGE,
        readFileSync(PAGE, 'utf8').replace(block(printed), () => block(prints)),
      )
    } else assert.equal(prints, printed)
  })
}
