/** A Kubernetes LabelSelector in canonical form: keys and values sorted, so that equal selectors have equal text. */
export type LabelSelector = {
  readonly requirements: readonly Requirement[]
  /** Canonical text: equal for selectors that differ only in order. Empty: matches everything. */
  readonly text: string
}

export type Requirement = {
  readonly key: string
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist'
  readonly values: readonly string[]
}

export type Labels = Readonly<Record<string, string>>

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const
const NAME = /^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/
const DNS_SUBDOMAIN = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/

/**
 * A selector, or the sentence that says what is wrong with it. Rule V-4: an unknown or missing operator, a
 * missing key, a repeated expression and a repeated value are refused; so is what the API server would refuse.
 */
export function parseLabelSelector(value: unknown): LabelSelector | string {
  if (!isRecord(value)) return 'is not a label selector'
  const requirements: Requirement[] = []
  const texts: string[] = []
  const matchLabels = value['matchLabels'] ?? {}
  if (!isRecord(matchLabels)) return 'has matchLabels that are no map'
  for (const [key, wanted] of Object.entries(matchLabels)) {
    const wrong = keyProblem(key) ?? valueProblem(wanted)
    if (wrong !== undefined) return wrong
    requirements.push({ key, operator: 'In', values: [wanted as string] })
    texts.push(`${key}=${String(wanted)}`)
  }
  const expressions = value['matchExpressions'] ?? []
  if (!Array.isArray(expressions)) return 'has matchExpressions that are no list'
  const seen = new Set<string>()
  for (const expression of expressions as unknown[]) {
    const requirement = parseExpression(expression)
    if (typeof requirement === 'string') return requirement
    const text = requirementText(requirement)
    if (seen.has(text)) return `repeats the expression ${text}`
    seen.add(text)
    requirements.push(requirement)
    texts.push(text)
  }
  return { requirements, text: texts.sort(compareText).join(',') }
}

function parseExpression(value: unknown): Requirement | string {
  if (!isRecord(value)) return 'has an expression that is no object'
  const { key, operator, values = [] } = value
  if (typeof key !== 'string' || key === '') return 'has an expression without a key'
  const wrongKey = keyProblem(key)
  if (wrongKey !== undefined) return wrongKey
  const known = OPERATORS.find(name => name === operator)
  if (known === undefined) {
    return operator === undefined || operator === ''
      ? `has an expression on ${key} without an operator`
      : `has the unknown operator ${JSON.stringify(operator)}; use one of ${OPERATORS.join(', ')}`
  }
  if (!Array.isArray(values)) return `has values for ${key} that are no list`
  for (const item of values as unknown[]) {
    const wrong = valueProblem(item)
    if (wrong !== undefined) return wrong
  }
  const texts = [...(values as string[])].sort(compareText)
  const repeated = texts.find((text, index) => index > 0 && text === texts[index - 1])
  if (repeated !== undefined) return `repeats the value ${repeated} for ${key}`
  const takesValues = known === 'In' || known === 'NotIn'
  if (takesValues && texts.length === 0) return `has the operator ${known} on ${key} without values`
  if (!takesValues && texts.length > 0) return `has the operator ${known} on ${key}, which takes no values`
  return { key, operator: known, values: texts }
}

function keyProblem(key: string): string | undefined {
  const parts = key.split('/')
  const name = parts.at(-1) ?? ''
  const prefix = parts.length > 1 ? parts[0] : undefined
  const good =
    parts.length <= 2 &&
    NAME.test(name) &&
    (prefix === undefined || (prefix.length <= 253 && DNS_SUBDOMAIN.test(prefix)))
  return good ? undefined : `uses ${JSON.stringify(key)}, which is no label key`
}

function valueProblem(value: unknown): string | undefined {
  return typeof value === 'string' && (value === '' || NAME.test(value))
    ? undefined
    : `uses ${JSON.stringify(value)}, which is no label value`
}

function requirementText(r: Requirement): string {
  return r.values.length === 0 ? `${r.operator}(${r.key})` : `${r.key} ${r.operator} (${r.values.join('|')})`
}

/** AND over the requirements; a missing label meets NotIn and DoesNotExist, as in Kubernetes. */
export function matchesSelector(selector: LabelSelector, labels: Labels): boolean {
  return selector.requirements.every(requirement => meets(requirement, labels))
}

function meets({ key, operator, values }: Requirement, labels: Labels): boolean {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined
  const has = value !== undefined && values.includes(value)
  if (operator === 'In') return has
  if (operator === 'NotIn') return !has
  return operator === 'Exists' ? value !== undefined : value === undefined
}

/** OR over the list (V-4). An empty list restricts nothing. */
export function matchesAny(selectors: readonly LabelSelector[], labels: Labels): boolean {
  return selectors.length === 0 || selectors.some(selector => matchesSelector(selector, labels))
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** By UTF-16 code unit, the same everywhere: locales must not decide who wins. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
