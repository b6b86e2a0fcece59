import type { KubeObject } from '../ports/kube.ts'
import { type Fields, fieldsOf, integerOf } from './fields.ts'
import { type Place, shown } from './report.ts'
import { type LabelSelector, parseLabelSelector } from './selectors.ts'

/**
 * Reads the fields of one object, reports what is not of the expected type, and goes on with a stand-in. Absent, null and, for
 * text, empty all mean "not set". What nobody asked for is unknown: {@link done} warns about it.
 */
export class Reader {
  readonly place: Place
  readonly path: string
  readonly #fields: Fields
  readonly #known = new Set<string>()

  /** `path` is where the fields are, such as `spec`; a value that is no object is reported, unless it is absent. */
  constructor(value: unknown, path: string, place: Place) {
    this.place = place
    this.path = path
    this.#fields = fieldsOf(value)
    const isObject = typeof value === 'object' && !Array.isArray(value)
    if (value !== undefined && !isObject) {
      place(path, 'field-type', `${path} must be an object, not ${shown(value)}`)
    }
  }

  at(name: string): string {
    return `${this.path}.${name}`
  }

  raw(name: string): unknown {
    this.#known.add(name)
    return this.#fields[name] ?? undefined
  }

  has(name: string): boolean {
    return this.raw(name) !== undefined
  }

  /** What these are is checked elsewhere, or does not matter. */
  ignore(...names: string[]): void {
    for (const name of names) this.#known.add(name)
  }

  text(name: string): string | undefined {
    const value = this.raw(name)
    if (value === undefined || value === '') return undefined
    if (typeof value === 'string') return value
    this.place(this.at(name), 'field-type', `${this.at(name)} must be text, not ${shown(value)}`)
    return undefined
  }

  boolean(name: string, otherwise: boolean): boolean {
    const value = this.raw(name) ?? otherwise
    if (typeof value === 'boolean') return value
    this.place(this.at(name), 'field-type', `${this.at(name)} must be true or false, not ${shown(value)}`)
    return otherwise
  }

  /** A whole number; one out of range is reported and counts as not set. */
  integer(name: string, min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER): number | undefined {
    const value = this.raw(name)
    if (value === undefined) return undefined
    const number = integerOf(value)
    if (number === undefined) {
      this.place(this.at(name), 'field-type', `${this.at(name)} must be a whole number, not ${shown(value)}`)
      return undefined
    }
    if (number >= min && number <= max) return number
    this.place(
      this.at(name),
      'field-range',
      `${this.at(name)} is ${number}; it must be from ${min} to ${max}`,
    )
    return undefined
  }

  oneOf<T extends string>(name: string, known: readonly T[]): T | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const found = known.find(item => item === value)
    if (found === undefined) {
      this.place(
        this.at(name),
        'field-type',
        `${this.at(name)} is ${shown(value)}; it must be one of ${known.join(', ')}`,
      )
    }
    return found
  }

  list(name: string): readonly unknown[] {
    const value = this.raw(name)
    if (value === undefined) return []
    if (Array.isArray(value)) return value as unknown[]
    this.place(this.at(name), 'field-type', `${this.at(name)} must be a list, not ${shown(value)}`)
    return []
  }

  /** The objects of a list, each with a reader of its own. */
  objects(name: string): Reader[] {
    return this.list(name).map((item, index) => {
      const path = `${this.at(name)}[${index}]`
      return new Reader(item ?? '', path, this.place)
    })
  }

  /** A list of names without repeated entries (V-5). */
  names(name: string, options: { allowRepeated?: boolean } = {}): string[] {
    const seen = new Set<string>()
    return this.list(name).flatMap((item, index) => {
      const at = `${this.at(name)}[${index}]`
      if (typeof item !== 'string') {
        this.place(at, 'field-type', `${at} must be text, not ${shown(item)}`)
        return []
      }
      if (seen.has(item) && options.allowRepeated !== true) {
        this.place(at, 'entry-duplicate', `${at} repeats ${shown(item)}; remove it`)
      }
      seen.add(item)
      return [item]
    })
  }

  /** A list of label selectors of which no two are equal (V-4). */
  selectors(name: string): LabelSelector[] {
    const seen = new Set<string>()
    return this.list(name).flatMap((item, index) => {
      const at = `${this.at(name)}[${index}]`
      const selector = parseSelector(item, at, this.place)
      if (selector === undefined) return []
      if (seen.has(selector.text)) {
        this.place(at, 'selector-duplicate', `${at} repeats an earlier selector of the list; remove it`)
      }
      seen.add(selector.text)
      return [selector]
    })
  }

  /** Warns about fields that nobody read. */
  done(): void {
    for (const name of Object.keys(this.#fields)) {
      if (!this.#known.has(name)) warnUnknown(this.at(name), this.place)
    }
  }
}

export function parseSelector(value: unknown, path: string, place: Place): LabelSelector | undefined {
  const selector = parseLabelSelector(value)
  if (typeof selector === 'string') {
    place(path, 'selector-invalid', `${path} ${selector}`)
    return undefined
  }
  const { matchExpressions, ...others } = fieldsOf(value)
  for (const name of Object.keys(others)) {
    if (name !== 'matchLabels') warnUnknown(`${path}.${name}`, place)
  }
  if (!Array.isArray(matchExpressions)) return selector
  for (const [index, expression] of matchExpressions.entries()) {
    for (const name of Object.keys(fieldsOf(expression))) {
      if (name !== 'key' && name !== 'operator' && name !== 'values') {
        warnUnknown(`${path}.matchExpressions[${index}].${name}`, place)
      }
    }
  }
  return selector
}

/** The reader of an object's spec. Some kinds may leave it out. */
export function specReader(object: KubeObject, place: Place, options: { required: boolean }): Reader {
  const spec = object['spec'] ?? undefined
  if (spec === undefined && options.required) {
    place('spec', 'field-type', 'spec must be an object; it is missing')
  }
  for (const name of Object.keys(object)) {
    if (!ENVELOPE.has(name)) warnUnknown(name, place)
  }
  return new Reader(spec, 'spec', place)
}

const ENVELOPE = new Set(['apiVersion', 'kind', 'metadata', 'spec', 'status'])

function warnUnknown(path: string, place: Place): void {
  place(path, 'field-unknown', `there is no field ${path}; the API server drops it`, 'warning')
}
