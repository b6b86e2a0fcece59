import type { ReviewedKind } from './decide.ts'

/** What a path of the server is for; MetalLB's own, so that its manifests fit (1.3). */
export type Route = { readonly to: 'validate'; readonly kind: ReviewedKind } | { readonly to: 'convert' }

export const ROUTES: ReadonlyMap<string, Route> = new Map([
  ...(
    [
      ['/validate-metallb-io-v1beta1-ipaddresspool', 'IPAddressPool'],
      ['/validate-metallb-io-v1beta1-l2advertisement', 'L2Advertisement'],
      ['/validate-metallb-io-v1beta1-bgpadvertisement', 'BGPAdvertisement'],
      ['/validate-metallb-io-v1beta2-bgppeer', 'BGPPeer'],
      ['/validate-metallb-io-v1beta1-bfdprofile', 'BFDProfile'],
      ['/validate-metallb-io-v1beta1-community', 'Community'],
    ] as const
  ).map(([path, kind]): [string, Route] => [path, { to: 'validate', kind }]),
  ['/convert', { to: 'convert' }],
])
