import { type ApiObject, isRecord, list, record, text } from './objects.ts'
import type { ResourceType } from './resource-type.ts'
import { badRequest } from './status.ts'

export type LabelPredicate = (labels: Readonly<Record<string, string>>) => boolean

const TOKEN = /\s*([(),]|!=|==|=|!|[^\s(),!=<>]+|[<>])/y

function tokens(selector: string): string[] {
  const out: string[] = []
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < selector.trimEnd().length) {
    const found = TOKEN.exec(selector)
    if (found === null) throw badRequest(`unable to parse requirement: ${selector}`)
    out.push(found[1] ?? '')
  }
  return out
}

/**
 * The label selector language: `a=b`, `a==b`, `a!=b`, `a in (x,y)`, `a notin (x)`, `a`, `!a`, `a>1`, joined by commas.
 * @throws ApiError 400
 */
export function parseLabelSelector(selector: string): LabelPredicate {
  if (selector.trim() === '') return () => true
  const words = tokens(selector)
  let i = 0
  const next = (): string => words[i++] ?? ''
  const fail = (): never => {
    throw badRequest(
      `unable to parse requirement: found '${words[i - 1] ?? ''}' in ${JSON.stringify(selector)}`,
    )
  }
  const word = (): string => {
    const w = next()
    return w === '' || /^[(),=!<>]/.test(w) ? fail() : w
  }
  const values = (): ReadonlySet<string> => {
    if (next() !== '(') fail()
    const out = new Set<string>()
    for (;;) {
      const w = next()
      if (w === ')') return out.add('')
      if (w === ',') {
        out.add('')
        continue
      }
      if (w === '' || /^[(=!<>]/.test(w)) fail()
      out.add(w)
      const after = next()
      if (after === ')') return out
      if (after !== ',') fail()
    }
  }
  const predicates: LabelPredicate[] = []
  for (;;) {
    if (words[i] === '!') {
      i++
      const key = word()
      predicates.push(labels => labels[key] === undefined)
    } else {
      const key = word()
      const operator = words[i]
      if (operator === undefined || operator === ',') predicates.push(labels => labels[key] !== undefined)
      else {
        i++
        if (operator === '=' || operator === '==' || operator === '!=') {
          const value = words[i] === undefined || words[i] === ',' ? '' : word()
          predicates.push(
            operator === '!=' ? labels => labels[key] !== value : labels => labels[key] === value,
          )
        } else if (operator === 'in' || operator === 'notin') {
          const set = values()
          predicates.push(
            operator === 'in'
              ? labels => labels[key] !== undefined && set.has(labels[key])
              : labels => labels[key] === undefined || !set.has(labels[key]),
          )
        } else if (operator === '<' || operator === '>') {
          const bound = Number(word())
          predicates.push(labels => {
            const value = Number(labels[key] ?? Number.NaN)
            return operator === '<' ? value < bound : value > bound
          })
        } else fail()
      }
    }
    if (i >= words.length) break
    if (next() !== ',') fail()
  }
  return labels => predicates.every(holds => holds(labels))
}

/**
 * `metadata.name=a,status.phase!=Running`. Only fields that the kind indexes.
 * @throws ApiError 400
 */
export function parseFieldSelector(selector: string, type: ResourceType): (object: ApiObject) => boolean {
  const predicates = selector
    .split(',')
    .filter(part => part.trim() !== '')
    .map(part => {
      const found = /^\s*([^=!\s]+)\s*(!=|==|=)(.*)$/.exec(part)
      if (found === null) throw badRequest(`invalid field selector: ${JSON.stringify(selector)}`)
      const [, field = '', operator = '', value = ''] = found
      const read = fieldReader(type, field)
      const wanted = value.trim()
      return operator === '!='
        ? (object: ApiObject) => read(object) !== wanted
        : (object: ApiObject) => read(object) === wanted
    })
  return object => predicates.every(holds => holds(object))
}

function fieldReader(type: ResourceType, field: string): (object: ApiObject) => string {
  if (field === 'metadata.name') return object => object.metadata.name
  if (field === 'metadata.namespace' && type.namespaced) return object => object.metadata.namespace ?? ''
  const read = type.fieldSelectors[field]
  if (read === undefined) throw badRequest(`field label not supported: ${field}`)
  return read
}

/** Whether a metav1.LabelSelector matches. An empty one matches everything. */
export function matchesLabels(selector: unknown, labels: Readonly<Record<string, string>>): boolean {
  const { matchLabels, matchExpressions } = record(selector)
  for (const [key, value] of Object.entries(record(matchLabels))) if (labels[key] !== value) return false
  return list(matchExpressions).every(expression => {
    const { key, operator, values } = record(expression)
    const value = labels[text(key)]
    switch (operator) {
      case 'In':
        return value !== undefined && list(values).includes(value)
      case 'NotIn':
        return value === undefined || !list(values).includes(value)
      case 'Exists':
        return value !== undefined
      case 'DoesNotExist':
        return value === undefined
      default:
        return false
    }
  })
}

/** A metav1.LabelSelector (or a plain map) in the selector language; `<none>` when empty. */
export function selectorText(selector: unknown): string {
  if (!isRecord(selector)) return '<none>'
  const parts: string[] = []
  for (const [key, value] of Object.entries(record(selector['matchLabels'])).sort(([a], [b]) =>
    a < b ? -1 : 1,
  )) {
    parts.push(`${key}=${text(value)}`)
  }
  for (const expression of list(selector['matchExpressions'])) {
    const { key, operator, values } = record(expression)
    const name = text(key)
    if (operator === 'In') parts.push(`${name} in (${list(values).join(',')})`)
    else if (operator === 'NotIn') parts.push(`${name} notin (${list(values).join(',')})`)
    else if (operator === 'Exists') parts.push(name)
    else parts.push(`!${name}`)
  }
  return parts.length === 0 ? '<none>' : parts.join(',')
}
