import type { Level } from '../membership/machine.ts'

/** One node's place among the candidates for an address, best first. */
export type Place = {
  readonly ahead: readonly string[]
  readonly behind: readonly string[]
  /** More go ahead than are listed. */
  readonly truncated: boolean
}

/** What one node knows of the others at this moment. */
export type Field = {
  /** A node that is not in it is down: it has no speaker. */
  readonly levels: ReadonlyMap<string, Level>
  /** This node itself is on probation. */
  readonly probation: boolean
  /** Who said last that the address is its own, if another node did. */
  readonly claimer: string | undefined
}

/** Stands for the nodes ahead that are not listed: no node has this name. */
export const UNLISTED = ''

/**
 * The candidate that goes before this node at this moment; undefined: none, the address is this node's. Those that stand go
 * first, by rank, then those on probation, by rank; who is down or has left is passed over.
 *
 * With one exception: a node on probation that has the address keeps it from those that stand and rank behind it. It came to it
 * when nobody stood, as when a whole cluster starts, and moving the address away and back in the moment in which they all begin
 * to stand, one after the other, would help nobody.
 */
export function whoPrecedes(place: Place, { levels, probation, claimer }: Field): string | undefined {
  for (const node of place.ahead) {
    const level = levels.get(node)
    if (level === 'up') return node
    if (level === 'probation' && (probation || claimer === node)) return node
  }
  if (place.truncated) return UNLISTED
  return probation ? place.behind.find(node => levels.get(node) === 'up') : undefined
}

/** Of two that claim an address by the same term: whether `node` keeps it and not this one. */
export function ranksBefore(
  node: string,
  self: string,
  places: readonly Place[],
  { levels, probation }: Pick<Field, 'levels' | 'probation'>,
): boolean {
  const level = levels.get(node)
  if (level === 'up' && probation) return true
  if (level === 'probation' && !probation) return false
  if (places.some(({ ahead }) => ahead.includes(node))) return true
  if (places.some(({ behind }) => behind.includes(node))) return false
  // Neither side lists the other: any rule will do that both apply alike.
  return node < self
}
