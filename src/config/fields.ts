/**
 * Careful reads from API objects: what is not of the expected type counts as absent, so that a malformed object
 * is never an exception in a reconcile.
 */
export type Fields = Readonly<Record<string, unknown>>

const NO_FIELDS: Fields = Object.freeze({})
const NO_ITEMS: readonly never[] = Object.freeze([])
const NO_LABELS: Readonly<Record<string, string>> = Object.freeze({})

export function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : NO_FIELDS
}

export function itemsOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : NO_ITEMS
}

/** undefined also for the empty text, which the API uses for "not set". */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

export function integerOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : undefined
}

/** A map of text to text; other values are left out. One shared object stands for all empty maps. */
export function labelsOf(value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(fieldsOf(value)).filter(([, text]) => typeof text === 'string')
  return entries.length === 0 ? NO_LABELS : (Object.fromEntries(entries) as Record<string, string>)
}

/** The items that `convert` makes something of. One shared array stands for all empty ones. */
export function mapItems<T extends object | string>(
  value: unknown,
  convert: (item: unknown) => T | undefined,
): readonly T[] {
  const result: T[] = []
  for (const item of itemsOf(value)) {
    const converted = convert(item)
    if (converted !== undefined) result.push(converted)
  }
  return result.length === 0 ? NO_ITEMS : result
}
