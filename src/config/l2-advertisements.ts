import type { KubeObject } from '../ports/kube.ts'
import { fieldsOf } from './fields.ts'
import { LAYER2_MODE_ANNOTATION, type Layer2Mode, parseLayer2Mode, unknownLayer2Mode } from './layer2-mode.ts'
import type { L2Advertisement } from './model.ts'
import type { NodeFacts } from './nodes.ts'
import type { ParsedPool } from './pools.ts'
import { parseSelector, type Reader, specReader } from './reader.ts'
import { type Place, type Report, refTo, shown } from './report.ts'
import { selectNodes, selectPools } from './selection.ts'
import { type LabelSelector, matchesSelector } from './selectors.ts'

export function parseL2Advertisement(
  object: KubeObject,
  pools: readonly ParsedPool[],
  nodes: readonly NodeFacts[],
  report: Report,
): L2Advertisement {
  const ref = refTo('L2Advertisement', object)
  const spec = specReader(object, report.at(ref), { required: false })
  const selectedPools = selectPools(spec, pools)
  const selectedNodes = selectNodes(spec, nodes)
  const interfaces = spec.names('interfaces', { allowRepeated: true })
  const serviceSelectors = spec.selectors('serviceSelectors')
  const preferences = spec.objects('preferredNodeSelectors').flatMap(parsePreference)
  spec.done()
  const mode = modeOf(object, report.at(ref))
  return {
    name: ref.name,
    pools: new Set(selectedPools.map(({ pool }) => pool.name)),
    nodes: new Set(selectedNodes.map(({ name }) => name)),
    interfaces: interfaces.length === 0 ? 'all' : [...new Set(interfaces)].sort(),
    serviceSelectors,
    scores: scoresOf(preferences, selectedNodes),
    ...(mode !== undefined && { mode }),
  }
}

function modeOf(object: KubeObject, place: Place): Layer2Mode | undefined {
  const value = fieldsOf(object.metadata.annotations)[LAYER2_MODE_ANNOTATION]
  if (value === undefined) return undefined
  const mode = parseLayer2Mode(value)
  if (mode === undefined) {
    const field = `metadata.annotations[${LAYER2_MODE_ANNOTATION}]`
    place(field, 'layer2-mode-unknown', unknownLayer2Mode(value), 'warning')
  }
  return mode
}

type Preference = { readonly weight: number; readonly selector: LabelSelector }

function parsePreference(item: Reader): Preference[] {
  const weight = item.raw('weight')
  const valid = typeof weight === 'number' && Number.isInteger(weight) && weight >= 1 && weight <= 100
  if (!valid) {
    item.place(
      item.at('weight'),
      'weight-invalid',
      `${item.at('weight')} must be a whole number from 1 to 100, not ${shown(weight)}`,
    )
  }
  const selector = parseSelector(item.raw('preference'), item.at('preference'), item.place)
  item.done()
  return valid && selector !== undefined ? [{ weight, selector }] : []
}

function scoresOf(
  preferences: readonly Preference[],
  nodes: readonly NodeFacts[],
): ReadonlyMap<string, number> {
  const scores = new Map<string, number>()
  if (preferences.length === 0) return scores
  for (const { name, labels } of nodes) {
    let score = 0
    for (const { weight, selector } of preferences) if (matchesSelector(selector, labels)) score += weight
    if (score > 0) scores.set(name, score)
  }
  return scores
}
