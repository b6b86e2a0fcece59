import type { KubeObject } from '../ports/kube.ts'
import { type Fields, fieldsOf, itemsOf } from './fields.ts'

export const BGP_PEER_VERSIONS = ['v1beta1', 'v1beta2'] as const
export type BgpPeerVersion = (typeof BGP_PEER_VERSIONS)[number]

/** All that v1beta1 has; v1beta2 has the same under the same names, and more. */
export const V1BETA1_FIELDS = [
  'myASN',
  'peerASN',
  'peerAddress',
  'sourceAddress',
  'peerPort',
  'holdTime',
  'keepaliveTime',
  'routerID',
  'nodeSelectors',
  'password',
  'bfdProfile',
  'ebgpMultiHop',
] as const

/**
 * A BGPPeer as the other version says it; metadata and status are kept. To v1beta1, fields that it does not have are dropped and
 * those it requires get their zero. To v1beta2, what stands for "not set" goes, since its schema refuses it. An object that has the
 * version already is returned as it is.
 */
export function convertBgpPeer(object: KubeObject, toVersion: BgpPeerVersion): KubeObject {
  const apiVersion = `metallb.io/${toVersion}`
  if (object.apiVersion === apiVersion) return object
  const spec = fieldsOf(object['spec'])
  return { ...object, apiVersion, spec: toVersion === 'v1beta1' ? downgraded(spec) : upgraded(spec) }
}

function downgraded(spec: Fields): Fields {
  // Required there: a peer that is on an interface, or has a dynamic AS number, cannot be said in v1beta1.
  const result: Record<string, unknown> = { myASN: 0, peerASN: 0, peerAddress: '' }
  for (const name of V1BETA1_FIELDS) if (spec[name] !== undefined) result[name] = spec[name]
  if (Array.isArray(spec['nodeSelectors'])) {
    result['nodeSelectors'] = itemsOf(spec['nodeSelectors']).map(selector =>
      withExpressions(selector, expression => ({ ...expression, values: expression['values'] ?? [] })),
    )
  }
  return result
}

function upgraded(spec: Fields): Fields {
  const result: Record<string, unknown> = {}
  for (const name of V1BETA1_FIELDS) {
    const value = spec[name]
    const unset = name !== 'myASN' && (value === 0 || value === '')
    if (value !== undefined && !unset) result[name] = value
  }
  if (Array.isArray(spec['nodeSelectors'])) {
    result['nodeSelectors'] = itemsOf(spec['nodeSelectors']).map(selector =>
      withExpressions(selector, ({ values, ...expression }) =>
        // v1beta1 requires values where the operator takes none.
        takesValues(expression['operator']) || itemsOf(values).length > 0
          ? { ...expression, ...(values === undefined ? {} : { values }) }
          : expression,
      ),
    )
  }
  return result
}

function takesValues(operator: unknown): boolean {
  return operator === 'In' || operator === 'NotIn'
}

function withExpressions(selector: unknown, change: (expression: Fields) => Fields): unknown {
  const { matchExpressions } = fieldsOf(selector)
  if (!Array.isArray(matchExpressions)) return selector
  return {
    ...fieldsOf(selector),
    matchExpressions: matchExpressions.map(item => change(fieldsOf(item))),
  }
}
