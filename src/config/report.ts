import type { KubeObject } from '../ports/kube.ts'
import { fieldsOf } from './fields.ts'
import type { ObjectRef, Problem, ProblemCode } from './model.ts'
import { compareText } from './selectors.ts'

/** Collects problems of all objects. */
export class Report {
  readonly problems: Problem[] = []

  /** Reports about one object. */
  at(object: ObjectRef): Place {
    return (field, code, message, severity = 'error') =>
      this.problems.push({ code, severity, object, field, message })
  }
}

/** Reports one problem of the object that it was made for. */
export type Place = (
  field: string,
  code: ProblemCode,
  message: string,
  severity?: Problem['severity'],
) => void

export function refTo(kind: string, object: KubeObject): ObjectRef {
  const { name, namespace } = fieldsOf(object.metadata)
  return {
    kind,
    namespace: typeof namespace === 'string' ? namespace : '',
    name: typeof name === 'string' ? name : '',
  }
}

/** By name, then by content, so that the order of the input changes nothing even where names repeat. */
export function sortedByName(objects: readonly KubeObject[]): KubeObject[] {
  return [...objects].sort((a, b) => {
    const [refA, refB] = [refTo('', a), refTo('', b)]
    return (
      compareText(refA.name, refB.name) ||
      compareText(refA.namespace, refB.namespace) ||
      (refA.name === refB.name ? compareText(JSON.stringify(a), JSON.stringify(b)) : 0)
    )
  })
}

/** Every object of a kind needs a name, and one of its own. */
export function reportNames(kind: string, objects: readonly KubeObject[], report: Report): void {
  const seen = new Set<string>()
  for (const object of sortedByName(objects)) {
    const ref = refTo(kind, object)
    if (ref.name === '') report.at(ref)('metadata.name', 'name-missing', `this ${kind} has no name`)
    else if (seen.has(ref.name)) {
      report.at(ref)(
        'metadata.name',
        'name-duplicate',
        `there are two objects of kind ${kind} named ${shown(ref.name)}; rename one of them`,
      )
    }
    seen.add(ref.name)
  }
}

/** A value as it stands in a manifest, for messages. */
export function shown(value: unknown): string {
  return JSON.stringify(value) ?? 'nothing'
}

/** Equal for values that differ only in the order of fields. */
export function canonicalText(value: unknown): string {
  return (
    JSON.stringify(value, (_key, item: unknown) =>
      typeof item === 'object' && item !== null && !Array.isArray(item)
        ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
        : item,
    ) ?? ''
  )
}
