import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Config, Problem } from '../../src/config/model.ts'
import type { NodeFacts } from '../../src/config/nodes.ts'
import { type ConfigResources, type ParsedConfig, parseConfig } from '../../src/config/parse.ts'
import type { SecretFacts } from '../../src/config/secrets.ts'
import type { KubeObject } from '../../src/ports/kube.ts'

export function object(
  kind: string,
  name: string,
  spec: unknown,
  labels: Record<string, string> = {},
): KubeObject {
  const apiVersion = kind === 'BGPPeer' ? 'metallb.io/v1beta2' : 'metallb.io/v1beta1'
  return { apiVersion, kind, metadata: { name, namespace: 'metallb-system', labels }, spec }
}

export const pool = (
  name: string,
  addresses: unknown,
  more: object = {},
  labels: Record<string, string> = {},
) => object('IPAddressPool', name, { addresses, ...more }, labels)
export const bgp = (name: string, spec: object = {}) => object('BGPAdvertisement', name, spec)
export const l2 = (name: string, spec: object = {}) => object('L2Advertisement', name, spec)
export const profile = (name: string, spec: object = {}) => object('BFDProfile', name, spec)
export const community = (name: string, communities: unknown) => object('Community', name, { communities })
/** A peer that is valid as long as `spec` leaves it so. */
export const peer = (name: string, spec: object = {}) =>
  object('BGPPeer', name, { myASN: 64496, peerASN: 64497, peerAddress: '192.0.2.254', ...spec })

export function node(name: string, labels: Record<string, string> = {}): NodeFacts {
  return {
    name,
    labels,
    internalIps: [],
    networkUnavailable: false,
    ready: true,
    unschedulable: false,
    outOfService: false,
  }
}

export const NODES = [
  node('node-a', { rack: '1' }),
  node('node-b', { rack: '2' }),
  node('node-c', { rack: '2' }),
]
export const RACK1 = [{ matchLabels: { rack: '1' } }]
export const RACK2 = [{ matchLabels: { rack: '2' } }]

export type Input = {
  readonly objects: readonly KubeObject[]
  readonly nodes?: readonly NodeFacts[]
  /** Absent: Secrets are not read. */
  readonly secrets?: readonly SecretFacts[]
}

export function resources({ objects, nodes = NODES, secrets }: Input): ConfigResources {
  const of = (kind: string) => objects.filter(item => item.kind === kind)
  return {
    pools: of('IPAddressPool'),
    l2Advertisements: of('L2Advertisement'),
    bgpAdvertisements: of('BGPAdvertisement'),
    bgpPeers: of('BGPPeer'),
    bfdProfiles: of('BFDProfile'),
    communities: of('Community'),
    ...(secrets && { secrets }),
    nodes,
    namespaces: [],
  }
}

export function problemsOf(parsed: ParsedConfig): readonly Problem[] {
  return 'config' in parsed ? parsed.warnings : parsed.problems
}

/** `severity code Kind/name field`, as the tables have it. */
export function told(problems: readonly Problem[]): string[] {
  return problems
    .map(
      ({ severity, code, object: { kind, name }, field }) => `${severity} ${code} ${kind}/${name} ${field}`,
    )
    .sort()
}

export function accepted(input: Input): Config {
  const parsed = parseConfig(resources(input))
  assert.ok('config' in parsed, JSON.stringify(parsed))
  return parsed.config
}

/** What is said about the input; empty: accepted without a word. The message must hold all of `words`. */
export type Case = Input & { readonly says: readonly string[]; readonly words?: readonly string[] }

/** One test per case; the name starts with the rule. */
export function testCases(cases: Readonly<Record<string, Case>>): void {
  for (const [name, { says, words = [], ...input }] of Object.entries(cases)) {
    test(name, () => {
      const parsed = parseConfig(resources(input))
      const problems = problemsOf(parsed)
      assert.deepEqual(told(problems), [...says].sort())
      assert.equal(
        'config' in parsed,
        says.every(text => text.startsWith('warning')),
      )
      const text = problems.map(({ message }) => message).join('\n')
      for (const word of words) assert.ok(text.includes(word), `${word} is not in: ${text}`)
    })
  }
}
