import { type Fields, fieldsOf, itemsOf } from '../config/fields.ts'

/** Our conditions in the status of a Service; the types of others are left alone. */
export const ALLOCATED = 'lodestone.dev/AddressAllocated'
export const ANNOUNCED = 'lodestone.dev/Announced'
/** The speakers' own: the controller leaves it alone as those of others. */
export const ADDRESS_CONFLICT = 'lodestone.dev/AddressConflict'

export type WantedCondition = {
  readonly type: typeof ALLOCATED | typeof ANNOUNCED
  readonly status: 'True' | 'False'
  /** One CamelCase word. */
  readonly reason: string
  readonly message: string
}

/** One of status.conditions as the object has it. */
export type Condition = Fields

const TEXTS = new Map<string, string>()
const TEXTS_MAX = 1000

/** status.conditions of any object. Thousands of Services say the same words: each is kept once. */
export function conditionsFrom(status: unknown): readonly Condition[] {
  const items = itemsOf(fieldsOf(status)['conditions'])
  return items.length === 0 ? NONE : items.map(item => interned(fieldsOf(item)))
}

const NONE: readonly Condition[] = Object.freeze([])

function interned(fields: Fields): Condition {
  const copy: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields))
    copy[name] = typeof value === 'string' ? intern(value) : value
  return copy
}

function intern(text: string): string {
  const known = TEXTS.get(text)
  if (known !== undefined) return known
  if (TEXTS.size < TEXTS_MAX) TEXTS.set(text, text)
  return text
}

/** What the object says under this type. */
export function conditionOf(
  conditions: readonly Condition[],
  type: WantedCondition['type'],
): Condition | undefined {
  return conditions.find(condition => condition['type'] === type)
}

/**
 * The whole list to write, with the conditions of others where they were, or undefined when the object says all of
 * this already. Ours that are not wanted any more are left out. `lastTransitionTime` moves only with the status.
 */
export function conditionsToWrite(
  current: readonly Condition[],
  wanted: readonly WantedCondition[],
  at: { readonly generation: number | undefined; readonly wallNow: number },
): readonly Condition[] | undefined {
  let changed = false
  const open = new Map<unknown, WantedCondition>(wanted.map(condition => [condition.type, condition]))
  const next: Condition[] = []
  for (const before of current) {
    const { type } = before as { readonly type?: unknown }
    if (type !== ALLOCATED && type !== ANNOUNCED) {
      next.push(before)
      continue
    }
    const condition = open.get(type)
    open.delete(type)
    if (condition !== undefined && isSame(before, condition, at.generation)) next.push(before)
    else {
      changed = true
      if (condition !== undefined) next.push(conditionAt(condition, before, at))
    }
  }
  for (const condition of open.values()) {
    changed = true
    next.push(conditionAt(condition, undefined, at))
  }
  return changed ? next : undefined
}

function isSame(before: Condition, wanted: WantedCondition, generation: number | undefined): boolean {
  return (
    before['status'] === wanted.status &&
    before['reason'] === wanted.reason &&
    before['message'] === wanted.message &&
    before['observedGeneration'] === generation
  )
}

function conditionAt(
  wanted: WantedCondition,
  before: Condition | undefined,
  { generation, wallNow }: { readonly generation: number | undefined; readonly wallNow: number },
): Condition {
  const since = before?.['status'] === wanted.status ? before['lastTransitionTime'] : undefined
  return {
    ...wanted,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    lastTransitionTime: since ?? timestamp(wallNow),
  }
}

let lastSecond = { number: 0, text: '1970-01-01T00:00:00Z' }

/** metav1.Time: RFC 3339 in whole seconds. In a burst thousands are written within one second. */
export function timestamp(wallMs: number): string {
  const number = Math.floor(wallMs / 1000)
  if (number !== lastSecond.number)
    lastSecond = { number, text: new Date(number * 1000).toISOString().replace(/\.\d+Z$/, 'Z') }
  return lastSecond.text
}
