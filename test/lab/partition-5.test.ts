// Some sets of cut links among five real speakers: what three cannot show.
import { after, before, test } from 'node:test'
import { Apart, type Pair, pairsOf } from './partition-support.ts'

const NODES = ['node1', 'node2', 'node3', 'node4', 'node5'] as const

/** All pairs of which the two are in different groups. */
function between(...groups: readonly (readonly number[])[]): Pair[] {
  const groupOf = (node: string) => groups.findIndex(group => group.includes(Number(node.slice(-1))))
  return pairsOf(NODES).filter(([a, b]) => groupOf(a) !== groupOf(b))
}

/** All pairs but these. */
function only(...links: readonly Pair[]): Pair[] {
  return pairsOf(NODES).filter(([a, b]) => !links.some(link => link.includes(a) && link.includes(b)))
}

const CUTS: Readonly<Record<string, readonly Pair[]>> = {
  'two nodes from three': between([1, 2], [3, 4, 5]),
  'three nodes from two': between([1, 2, 3], [4, 5]),
  'groups without a majority': between([1, 2], [3, 4], [5]),
  'all but one from each other': only(...NODES.slice(1).map((node): Pair => ['node1', node])),
  'all but the neighbours in a ring': only(
    ...NODES.map((node, i): Pair => [node, NODES[(i + 1) % NODES.length] ?? node]),
  ),
}

let apart: Apart
before(async () => {
  apart = await Apart.start('partition-5', NODES.length)
})
after(() => apart?.end())

for (const [name, pairs] of Object.entries(CUTS)) {
  test(`cut: ${name}`, t => apart.survives(pairs, text => t.diagnostic(text)))
}
