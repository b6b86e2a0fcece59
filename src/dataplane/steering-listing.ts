import { emptyMaps, MAP_NAMES, type MapName, type SteeringState } from './steering.ts'
import { LAYOUT_CHAIN } from './steering-text.ts'

/**
 * What `nft list table` says is there, so that a process that starts goes on from it. undefined: the table is of another release, or not
 * like anything that we make; it can only be replaced as a whole. Rules are not compared: the names of our chains tell what is in them.
 */
export function parseSteering(listing: string): SteeringState | undefined {
  const interfaces = new Map<string, string>()
  const handovers = new Map<string, readonly string[]>()
  const maps = emptyMaps()
  const slots = new Map<number, Uint32Array>()
  let layout = false
  for (const [, kind, name = '', body = ''] of listing.matchAll(
    /^\t(map|set|chain) (\S+) \{\n([\s\S]*?)^\t\}/gm,
  )) {
    if (kind === 'chain') {
      if (name === LAYOUT_CHAIN) layout = true
      else if (name.startsWith('to-')) handovers.set(name, rulesOf(body))
      else if (name.startsWith('in-')) {
        const device = /^\t\ttype filter hook ingress device "(.*?)" priority/m.exec(body)?.[1]
        // Without its interface the chain is an ordinary one, to be made anew.
        interfaces.set(name, device ?? '')
      }
      continue
    }
    const elements = /elements = \{([^}]*)\}/.exec(body)?.[1]
    if (elements === undefined) continue
    for (const element of elements.split(',')) {
      const text = element.trim()
      const split = text.lastIndexOf(' : ')
      const key = split < 0 ? text : text.slice(0, split)
      const data = split < 0 ? '' : text.slice(split + 3)
      if (name === 'slots') {
        if (!addSlot(slots, key, data)) return undefined
      } else if (isMapName(name)) maps[name].set(key, data)
      else return undefined
    }
  }
  return layout ? { interfaces, handovers, maps, slots } : undefined
}

function rulesOf(body: string): string[] {
  return body
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '')
}

function isMapName(name: string): name is MapName {
  return (MAP_NAMES as readonly string[]).includes(name)
}

/** Largest of the tables' sizes. */
const SLOTS_MAX = 65_537

function addSlot(slots: Map<number, Uint32Array>, key: string, data: string): boolean {
  const parts = /^0x([0-9a-f]{8}) \. (none|([0-9a-f]+):([0-9a-f]*))$/.exec(key)
  if (parts === null || !/^0x[0-9a-f]{8}$/.test(data)) return false
  const mark = Number.parseInt(parts[1] ?? '', 16)
  const slot =
    parts[2] === 'none'
      ? 0
      : Number.parseInt(parts[3] || '0', 16) * 65_536 + Number.parseInt(parts[4] || '0', 16)
  if (slot >= SLOTS_MAX) return false
  let table = slots.get(mark)
  if (table === undefined || table.length <= slot) {
    const larger = new Uint32Array(Math.min(SLOTS_MAX, Math.max(1009, (slot + 1) * 2)))
    if (table !== undefined) larger.set(table)
    table = larger
    slots.set(mark, table)
  }
  table[slot] = Number(data)
  return true
}
