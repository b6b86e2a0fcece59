import type { KubeObject } from '../ports/kube.ts'
import type { BgpCommunity } from './model.ts'
import { specReader } from './reader.ts'
import { type Report, refTo, shown } from './report.ts'
import { compareText } from './selectors.ts'

/** What is wrong with a text that should be a community: not written as one at all, or with a number out of range. */
export type CommunityProblem = { readonly wrong: 'format' | 'value'; readonly why: string }

/**
 * `64496:100` (RFC 1997) or `large:64496:1:2` (RFC 8092); decimal. Rule V-27: a text of another format may be the name of an
 * alias, one with a wrong value never is.
 */
export function parseCommunity(text: string): BgpCommunity | CommunityProblem {
  const parts = text.split(':')
  if (parts.length === 2) {
    const [high, low] = parts.map(part => decimal(part, 0xffff))
    if (high === undefined || low === undefined) {
      return { wrong: 'value', why: `${shown(text)} needs two numbers from 0 to 65535` }
    }
    return { kind: 'standard', text: `${high}:${low}`, parts: [high, low] }
  }
  if (parts.length === 4 && parts[0] === 'large') {
    const [a, b, c] = parts.slice(1).map(part => decimal(part, 0xffffffff))
    if (a === undefined || b === undefined || c === undefined) {
      return { wrong: 'value', why: `${shown(text)} needs three numbers from 0 to 4294967295 after large` }
    }
    return { kind: 'large', text: `large:${a}:${b}:${c}`, parts: [a, b, c] }
  }
  return { wrong: 'format', why: `${shown(text)} is written neither as 64496:100 nor as large:64496:1:2` }
}

/** The order of output (V-27): a standard community a:b counts as the triple (a * 65536 + b, 0, 0). */
export function compareCommunities(a: BgpCommunity, b: BgpCommunity): number {
  const [left, right] = [triple(a), triple(b)]
  return left[0] - right[0] || left[1] - right[1] || left[2] - right[2] || compareText(b.kind, a.kind)
}

function triple({ kind, parts }: BgpCommunity): readonly [number, number, number] {
  return kind === 'large' ? parts : [parts[0] * 0x10000 + parts[1], 0, 0]
}

function decimal(text: string, max: number): number | undefined {
  const value = Number(text)
  return /^\d+$/.test(text) && value <= max ? value : undefined
}

/** undefined: defined, with a value that was reported; whoever uses it has no problem of his own. */
export type Aliases = ReadonlyMap<string, BgpCommunity | undefined>

/** The aliases of all Community objects together (V-51). `objects` are in the order of their names. */
export function parseAliases(objects: readonly KubeObject[], report: Report): Aliases {
  const aliases = new Map<string, BgpCommunity | undefined>()
  const definedBy = new Map<string, string>()
  for (const object of objects) {
    const ref = refTo('Community', object)
    const spec = specReader(object, report.at(ref), { required: false })
    for (const item of spec.objects('communities')) {
      const name = item.text('name')
      const value = item.text('value') ?? ''
      item.done()
      const community = parseCommunity(value)
      if ('wrong' in community) {
        item.place(item.at('value'), 'community-invalid', `${item.at('value')}: ${community.why}`)
      }
      if (name === undefined) {
        item.place(item.at('name'), 'field-missing', `${item.at('name')} is missing; an alias needs a name`)
        continue
      }
      const other = definedBy.get(name)
      if (other !== undefined) {
        const where = other === ref.name ? 'earlier in the same object' : `by the Community ${other}`
        item.place(
          item.at('name'),
          'alias-duplicate',
          `the alias ${shown(name)} is already defined ${where}; every alias needs a name of its own`,
        )
        continue
      }
      definedBy.set(name, ref.name)
      aliases.set(name, 'wrong' in community ? undefined : community)
    }
    spec.done()
  }
  return new Map([...aliases].sort(([a], [b]) => compareText(a, b)))
}
