import type { TimelineEntry } from '../probe/analysis.ts'
import type { Paint, Style } from './style.ts'
import { paint } from './style.ts'

/** What a client saw in one slice of time. */
export type Cell =
  /** Nothing was sent then. */
  | { readonly kind: 'none' }
  | { readonly kind: 'lost' }
  /** `node`: by way of which node most answers came. */
  | { readonly kind: 'answered'; readonly node: string; readonly someLost: boolean }

export type Row = {
  readonly label: string
  readonly timeline: readonly TimelineEntry[]
  /** On the clock of the timeline. */
  readonly killAtMs: number
  /** How long after the kill something interesting happens. */
  readonly interestingMs: number
  /** Behind the picture, such as the outage. */
  readonly tail: string
}

export type Group = { readonly title: string; readonly rows: readonly Row[] }

/** Milliseconds per cell, and how many cells are before and after the kill. */
export type Scale = { readonly cellMs: number; readonly before: number; readonly after: number }

/** What the timeline counts by: a finer picture would show nothing more. */
const FINEST_MS = 10
const SHORTEST_MS = 400

/** One scale for all rows, so that they can be compared: all that is interesting, and a quarter more. */
export function scaleFor(interestingMs: readonly number[], cells: number): Scale {
  const before = Math.max(1, Math.floor(cells * 0.15))
  const after = cells - before
  const wanted = Math.max(SHORTEST_MS, ...interestingMs.map(ms => ms * 1.25))
  return { cellMs: Math.ceil(wanted / after / FINEST_MS) * FINEST_MS, before, after }
}

/**
 * The slices of a row. `nodeOf` knows nodes by their addresses: where pods saw a node as their client, the traffic came in by way
 * of that node, otherwise by way of the pod's own.
 */
export function cellsOf(row: Row, scale: Scale, nodeOf: ReadonlyMap<string, string>): Cell[] {
  const cells: Cell[] = []
  for (let i = -scale.before; i < scale.after; i++) {
    const fromMs = row.killAtMs + i * scale.cellMs
    const toMs = fromMs + scale.cellMs
    let sent = 0
    let lost = 0
    const answers = new Map<string, number>()
    for (const entry of row.timeline) {
      const overlap = Math.min(toMs, entry.toMs) - Math.max(fromMs, entry.fromMs)
      if (overlap <= 0) continue
      const share = overlap / (entry.toMs - entry.fromMs)
      sent += entry.sent * share
      lost += entry.lost * share
      for (const [node, count] of entriesBy(entry, nodeOf))
        answers.set(node, (answers.get(node) ?? 0) + count * share)
    }
    const [most] = [...answers].sort(([, a], [, b]) => b - a)
    if (sent === 0) cells.push({ kind: 'none' })
    else if (most === undefined) cells.push({ kind: 'lost' })
    else cells.push({ kind: 'answered', node: most[0], someLost: lost > 0 })
  }
  return cells
}

function entriesBy(entry: TimelineEntry, nodeOf: ReadonlyMap<string, string>): [string, number][] {
  const byEntry = Object.entries(entry.clients).flatMap(([client, count]): [string, number][] => {
    const node = nodeOf.get(client)
    return node === undefined ? [] : [[node, count]]
  })
  return byEntry.length > 0 ? byEntry : Object.entries(entry.nodes)
}

const NODE_PAINTS: readonly Paint[] = ['green', 'blue', 'magenta', 'cyan', 'yellow']
const LETTERS = 'abcdefghijklmnopqrstuvwxyz'

type Glyph = { readonly text: string; readonly paint?: Paint }

type Glyphs = {
  readonly answered: (node: string) => Glyph
  readonly someLost: (node: string) => Glyph
  readonly lost: Glyph
  readonly none: Glyph
  readonly mark: string
}

function glyphsFor(style: Style, nodes: readonly string[]): Glyphs {
  // Without colours, blocks cannot tell one node from another.
  const blocks = style.colour && style.unicode
  const colourOf = (node: string): Paint => NODE_PAINTS[nodes.indexOf(node) % NODE_PAINTS.length] ?? 'green'
  const digit = (node: string): string => String((nodes.indexOf(node) + 1) % 10)
  const letter = (node: string): string => LETTERS[nodes.indexOf(node) % LETTERS.length] ?? '?'
  return {
    answered: node => ({ text: blocks ? '█' : digit(node), paint: colourOf(node) }),
    someLost: node => ({ text: blocks ? '▓' : letter(node), paint: colourOf(node) }),
    lost: { text: style.unicode ? '░' : '.', paint: 'red' },
    none: { text: ' ' },
    mark: style.unicode ? '▼' : 'v',
  }
}

/** The picture of all groups: a time axis with the mark of the kill, a row for each of theirs, and a legend. */
export function renderTimeline(
  groups: readonly Group[],
  options: {
    readonly style: Style
    /** All nodes, in order. */
    readonly nodes: readonly string[]
    readonly nodeOf: ReadonlyMap<string, string>
  },
): string[] {
  const { style, nodes, nodeOf } = options
  const rows = groups.flatMap(group => group.rows)
  const labelWidth = Math.max(0, ...rows.map(row => row.label.length)) + 5
  const tailWidth = Math.max(0, ...rows.map(row => row.tail.length)) + 1
  const cellCount = Math.min(60, Math.max(20, style.columns - labelWidth - tailWidth))
  const scale = scaleFor(
    rows.map(row => row.interestingMs),
    cellCount,
  )
  const glyphs = glyphsFor(style, nodes)
  const pictures = new Map(rows.map(row => [row, cellsOf(row, scale, nodeOf)]))
  const lines: string[] = []
  for (const group of groups) {
    lines.push(
      `${`  ${group.title}`.padEnd(labelWidth)}${axis(scale, glyphs.mark).slice(0, cellCount)}`.trimEnd(),
    )
    for (const row of group.rows) {
      const picture = draw(
        (pictures.get(row) ?? []).map(cell => glyphOf(cell, glyphs)),
        style,
      )
      lines.push(`${`    ${row.label}`.padEnd(labelWidth)}${picture} ${row.tail}`.trimEnd())
    }
  }
  return [...lines, '', ...legend([...pictures.values()].flat(), { scale, glyphs, nodes, style })]
}

function glyphOf(cell: Cell, glyphs: Glyphs): Glyph {
  if (cell.kind === 'none') return glyphs.none
  if (cell.kind === 'lost') return glyphs.lost
  return cell.someLost ? glyphs.someLost(cell.node) : glyphs.answered(cell.node)
}

/** One escape sequence for each run of a colour. */
function draw(glyphs: readonly Glyph[], style: Style): string {
  let text = ''
  for (let i = 0; i < glyphs.length; ) {
    const how = glyphs[i]?.paint
    let run = ''
    for (; i < glyphs.length && glyphs[i]?.paint === how; i++) run += glyphs[i]?.text ?? ''
    text += how === undefined ? run : paint(style, how, run)
  }
  return text
}

/** The mark above the moment of the kill, and how far the picture reaches. */
function axis(scale: Scale, mark: string): string {
  const start = `${mark} kill`
  const end = `+${scale.after * scale.cellMs} ms`
  return ' '.repeat(scale.before) + start + end.padStart(scale.after - start.length)
}

/** Names what is to be seen, and only that. */
function legend(
  cells: readonly Cell[],
  by: {
    readonly scale: Scale
    readonly glyphs: Glyphs
    readonly nodes: readonly string[]
    readonly style: Style
  },
): string[] {
  const { scale, glyphs, nodes, style } = by
  const has = (node: string, someLost: boolean): boolean =>
    cells.some(cell => cell.kind === 'answered' && cell.node === node && cell.someLost === someLost)
  const show = (glyph: Glyph): string => draw([glyph], style)
  const parts = [
    ...nodes
      .filter(node => has(node, false) || has(node, true))
      .map(node => `${show(glyphs.answered(node))} answered by way of ${node}`),
    ...nodes
      .filter(node => has(node, true))
      .map(node => `${show(glyphs.someLost(node))} ${node}, but some probes lost`),
    ...(cells.some(({ kind }) => kind === 'lost') ? [`${show(glyphs.lost)} no answer`] : []),
    ...(cells.some(({ kind }) => kind === 'none') ? ['blank: nothing was sent'] : []),
  ]
  return [`  one character is ${scale.cellMs} ms`, ...parts.map(part => `    ${part}`)]
}
