import assert from 'node:assert/strict'
import type { Reader, Writer } from '../io.ts'
import { AS_TRANS } from './open.ts'

/** The ASes that a route came through, the nearest first (RFC 4271 section 4.3). Empty for a route of the sender's own AS. */
export type AsPath = readonly AsPathSegment[]

export type AsPathSegment = {
  /** A set has no order: what an aggregate was made from. */
  readonly type: 'sequence' | 'set'
  /** 1 to 255. */
  readonly asns: readonly number[]
}

const SET = 1
const SEQUENCE = 2
const CONFED_SEQUENCE = 3
const CONFED_SET = 4

/**
 * All that remains. Refused, so that RFC 7606 section 7.2 applies: unknown segments, empty ones, such as reach beyond the end, AS 0
 * (RFC 7607), and segments of a confederation, of which we are never a member (RFC 5065 section 5).
 * @throws DecodeError
 */
export function readAsPath(r: Reader, fourOctets: boolean): AsPath {
  const segments: AsPathSegment[] = []
  while (r.remaining > 0) {
    const type = r.u8('segment type')
    if (type !== SET && type !== SEQUENCE) throw r.error('bad-value', 'segment type', `${type}`)
    segments.push({ type: type === SET ? 'set' : 'sequence', asns: readAsns(r, fourOctets) })
  }
  return segments
}

/** AS4_PATH: its segments of confederations are passed over (RFC 6793 section 6). @throws DecodeError */
export function readAs4Path(r: Reader): AsPath {
  const segments: AsPathSegment[] = []
  while (r.remaining > 0) {
    const type = r.u8('segment type')
    if (type < SET || type > CONFED_SET) throw r.error('bad-value', 'segment type', `${type}`)
    const asns = readAsns(r, true)
    if (type === CONFED_SEQUENCE || type === CONFED_SET) continue
    segments.push({ type: type === SET ? 'set' : 'sequence', asns })
  }
  return segments
}

function readAsns(r: Reader, fourOctets: boolean): number[] {
  const count = r.u8('segment length')
  if (count === 0) throw r.error('bad-length', 'segment length', '0')
  const asns: number[] = []
  for (let i = 0; i < count; i++) {
    const asn = fourOctets ? r.u32('AS number') : r.u16('AS number')
    if (asn === 0) throw r.error('bad-value', 'AS number', '0')
    asns.push(asn)
  }
  return asns
}

export function writeAsPath(w: Writer, path: AsPath, fourOctets: boolean): void {
  for (const { type, asns } of path) {
    assert(asns.length >= 1 && asns.length <= 255, `a segment of ${asns.length} AS numbers`)
    w.u8(type === 'set' ? SET : SEQUENCE).u8(asns.length)
    for (const asn of asns) {
      if (fourOctets) w.u32(asn)
      else w.u16(asn > 0xffff ? AS_TRANS : asn)
    }
  }
}

/** Whether some AS number has no room in two octets, so that the path has to be told in AS4_PATH as well. */
export function needsAs4(path: AsPath): boolean {
  return path.some(({ asns }) => asns.some(asn => asn > 0xffff))
}

/** As many ASes as the path counts in the choice of routes: a set is one (RFC 4271 section 9.1.2.2). */
export function asPathLength(path: AsPath): number {
  return path.reduce((sum, { type, asns }) => sum + (type === 'set' ? 1 : asns.length), 0)
}

/**
 * The whole path, from what a speaker with AS numbers of two octets sent (RFC 6793 section 4.2.3): AS_PATH has the newest part and
 * AS4_PATH what is behind it. An AS4_PATH that is the longer one is ignored.
 */
export function mergeAs4Path(path: AsPath, as4Path: AsPath): AsPath {
  let lead = asPathLength(path) - asPathLength(as4Path)
  if (lead < 0) return path
  const merged: AsPathSegment[] = []
  for (const { type, asns } of path) {
    if (lead === 0) break
    const taken = type === 'set' ? asns : asns.slice(0, lead)
    merged.push({ type, asns: taken })
    lead -= type === 'set' ? 1 : taken.length
  }
  const [first, ...rest] = as4Path
  const last = merged.at(-1)
  // What was one sequence becomes one again.
  if (
    first?.type === 'sequence' &&
    last?.type === 'sequence' &&
    first.asns.length + last.asns.length <= 255
  ) {
    return [...merged.slice(0, -1), { type: 'sequence', asns: [...last.asns, ...first.asns] }, ...rest]
  }
  return [...merged, ...as4Path]
}
