import { isRecord } from './objects.ts'

type Step =
  | { type: 'field'; name: string }
  | { type: 'index'; index: number }
  | { type: 'all' }
  | { type: 'filter'; path: string[]; operator: string; value: string | number | boolean | undefined }

/**
 * The part of JSONPath that printer columns use: `.a.b`, `['a.b']`, `[0]`, `[*]`, `[?(@.a=="b")]`.
 * A path that cannot be read finds nothing.
 */
export function jsonPath(path: string): (value: unknown) => unknown[] {
  const steps = parse(path.trim())
  return value => {
    let here: unknown[] = [value]
    for (const step of steps) here = here.flatMap(item => take(item, step))
    return here.filter(item => item !== undefined && item !== null)
  }
}

function parse(path: string): Step[] {
  const steps: Step[] = []
  const matcher =
    /\.?\[\?\(\s*@\.([\w./-]+)\s*(?:(==|!=)\s*('[^']*'|"[^"]*"|[\w.-]+))?\s*\)\]|\.?\[\s*(\*|-?\d+|'[^']*'|"[^"]*")\s*\]|\.((?:\\.|[^.[\\])+)/y
  while (matcher.lastIndex < path.length) {
    const found = matcher.exec(path)
    if (found === null) return [{ type: 'field', name: '\u0000' }]
    const [, filterPath, operator, filterValue, bracket, field] = found
    if (filterPath !== undefined) {
      steps.push({
        type: 'filter',
        path: filterPath.split('.'),
        operator: operator ?? 'exists',
        value: filterValue === undefined ? undefined : literal(filterValue),
      })
    } else if (bracket === '*' || field === '*') steps.push({ type: 'all' })
    else if (bracket !== undefined) {
      if (/^-?\d+$/.test(bracket)) steps.push({ type: 'index', index: Number(bracket) })
      else steps.push({ type: 'field', name: bracket.slice(1, -1) })
    } else if (field !== undefined) steps.push({ type: 'field', name: field.replaceAll(/\\(.)/g, '$1') })
  }
  return steps
}

function literal(word: string): string | number | boolean {
  if (word.startsWith("'") || word.startsWith('"')) return word.slice(1, -1)
  if (word === 'true' || word === 'false') return word === 'true'
  const number = Number(word)
  return Number.isNaN(number) ? word : number
}

function take(value: unknown, step: Step): unknown[] {
  switch (step.type) {
    case 'field':
      return isRecord(value) ? [value[step.name]] : []
    case 'index':
      return Array.isArray(value) ? [value.at(step.index)] : []
    case 'all':
      return Array.isArray(value) ? value : isRecord(value) ? Object.values(value) : []
    case 'filter':
      return Array.isArray(value) ? value.filter(item => passes(item, step)) : []
    default:
      return step satisfies never
  }
}

function passes(item: unknown, filter: Extract<Step, { type: 'filter' }>): boolean {
  let here = item
  for (const name of filter.path) here = isRecord(here) ? here[name] : undefined
  if (filter.operator === 'exists') return here !== undefined
  return filter.operator === '==' ? here === filter.value : here !== filter.value
}
