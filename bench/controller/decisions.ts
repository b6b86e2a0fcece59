import type { EndpointMove } from './messages.ts'

/** What a speaker logs when it starts or stops to announce an address, as far as it is read here. */
type Decision = {
  readonly event: 'address-announced' | 'address-released'
  readonly services: readonly string[]
  /** RFC 3339 with milliseconds: when the first announcement went out, or the speaker stopped to answer. */
  readonly at: string
}

/**
 * Milliseconds from each endpoint's move to the decision that it led to, by the speaker's own clock, which is the machine's. Whole
 * numbers, since both times are.
 *
 * @param log the speaker's, JSON lines
 * @throws Error when a move led to no decision
 */
export function decisionTimes(moves: readonly EndpointMove[], log: string): number[] {
  const decisions = new Map<string, number[]>()
  // Behind the last end of a line there is nothing, or a line that is being written.
  for (const line of log.split('\n').slice(0, -1)) {
    if (!line.includes('"address-')) continue
    const { event, services, at } = JSON.parse(line) as Decision
    for (const service of services) {
      const key = keyOf(service, event === 'address-announced')
      const times = decisions.get(key)
      if (times === undefined) decisions.set(key, [Date.parse(at)])
      else times.push(Date.parse(at))
    }
  }
  return moves.map(({ service, onto, startWallMs }) => {
    const atMs = decisions.get(keyOf(service, onto))?.find(time => time >= startWallMs)
    if (atMs === undefined) {
      throw new Error(
        `the speaker's log has no ${onto ? 'announcement' : 'release'} of ${service} after it moved`,
      )
    }
    return atMs - startWallMs
  })
}

function keyOf(service: string, announced: boolean): string {
  return `${service} ${announced}`
}
