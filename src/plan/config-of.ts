import type { Config, Problem } from '../config/model.ts'
import { parseConfig } from '../config/parse.ts'
import { secretFromObject } from '../config/secrets.ts'
import type { KubeObject } from '../ports/kube.ts'
import type { Snapshot } from './snapshot.ts'

/** The configuration of a snapshot, or undefined when its resources are refused; with everything worth saying about them. */
export function configOf(snapshot: Pick<Snapshot, 'resources' | 'nodes' | 'namespaces'>): {
  readonly config: Config | undefined
  readonly problems: readonly Problem[]
} {
  const ofKind = (kind: string): readonly KubeObject[] =>
    snapshot.resources.filter(object => object.kind === kind)
  const secrets = ofKind('Secret')
  const parsed = parseConfig({
    pools: ofKind('IPAddressPool'),
    l2Advertisements: ofKind('L2Advertisement'),
    bgpAdvertisements: ofKind('BGPAdvertisement'),
    bgpPeers: ofKind('BGPPeer'),
    bfdProfiles: ofKind('BFDProfile'),
    communities: ofKind('Community'),
    // Manifests seldom hold Secrets, and no decision depends on them: without any, nothing is said about those that are named.
    ...(secrets.length > 0 && { secrets: secrets.map(secretFromObject) }),
    nodes: snapshot.nodes,
    namespaces: snapshot.namespaces,
  })
  return 'config' in parsed
    ? { config: parsed.config, problems: parsed.warnings }
    : { config: undefined, problems: parsed.problems }
}
