export const POOL_TOTAL = 'metallb_allocator_addresses_total'
export const POOL_TOTAL_IPV4 = 'metallb_allocator_ipv4_addresses_total'
export const POOL_TOTAL_IPV6 = 'metallb_allocator_ipv6_addresses_total'
export const POOL_IN_USE = 'metallb_allocator_addresses_in_use_total'
export const POOL_IN_USE_IPV4 = 'metallb_allocator_ipv4_addresses_in_use_total'
export const POOL_IN_USE_IPV6 = 'metallb_allocator_ipv6_addresses_in_use_total'
export const UPDATES = 'metallb_k8s_client_updates_total'
export const UPDATE_ERRORS = 'metallb_k8s_client_update_errors_total'
export const CONFIG_LOADED = 'metallb_k8s_client_config_loaded_bool'
export const CONFIG_STALE = 'metallb_k8s_client_config_stale_bool'
export const LEADING = 'lodestone_controller_leading'

export const POOL_GAUGES = [
  [POOL_TOTAL, 'Addresses that the pool can give out'],
  [POOL_TOTAL_IPV4, 'IPv4 addresses that the pool can give out'],
  [POOL_TOTAL_IPV6, 'IPv6 addresses that the pool can give out'],
  [POOL_IN_USE, 'Addresses of the pool in use; a shared one counts once'],
  [POOL_IN_USE_IPV4, 'IPv4 addresses of the pool in use'],
  [POOL_IN_USE_IPV6, 'IPv6 addresses of the pool in use'],
] as const

/** What the controller reports, under MetalLB's names (1.9): to be declared where the process is wired. */
export const CONTROLLER_METRICS = [
  ...POOL_GAUGES.map(([name, help]) => ({ name, help, type: 'gauge' as const, labels: ['pool'] })),
  {
    name: UPDATES,
    help: 'Changes of Kubernetes objects that were processed',
    type: 'counter' as const,
    labels: [],
  },
  {
    name: UPDATE_ERRORS,
    help: 'Changes that could not be processed or written',
    type: 'counter' as const,
    labels: [],
  },
  { name: CONFIG_LOADED, help: '1 once a configuration was loaded', type: 'gauge' as const, labels: [] },
  {
    name: CONFIG_STALE,
    help: '1 while the last configuration is refused and the one before runs',
    type: 'gauge' as const,
    labels: [],
  },
  { name: LEADING, help: '1 while this process is the one that acts', type: 'gauge' as const, labels: [] },
]
