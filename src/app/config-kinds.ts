import { RESOURCES, type Resource } from '../ports/kube.ts'

/** The kinds that the configuration is made of, in the versions in which they are stored. */
export const CONFIG_KINDS = {
  IPAddressPool: RESOURCES.ipAddressPools,
  L2Advertisement: RESOURCES.l2Advertisements,
  BGPAdvertisement: metallb('v1beta1', 'bgpadvertisements', 'BGPAdvertisement'),
  BGPPeer: metallb('v1beta2', 'bgppeers', 'BGPPeer'),
  BFDProfile: metallb('v1beta1', 'bfdprofiles', 'BFDProfile'),
  Community: metallb('v1beta1', 'communities', 'Community'),
} as const satisfies Record<string, Resource>

function metallb(version: string, plural: string, kind: string): Resource {
  return { group: 'metallb.io', version, plural, kind, namespaced: true }
}
