import type { Ip } from '../addr/ip.ts'
import type { Prefix } from '../addr/prefix.ts'
import { LabError } from './error.ts'

/** What a lab is made of. */
export type LabShape = {
  /** Kubernetes nodes, 1 to 80. */
  readonly nodes: number
  /** Clients on the nodes' own network, 0 to 50. */
  readonly clients: number
  /** Dual stack; without it the lab has IPv4 only. */
  readonly ipv6: boolean
}

export type HostRole = 'switch' | 'control' | 'router' | 'remote' | 'node' | 'client'

/** One machine of the lab: a network namespace of that name. */
export type Host = {
  readonly name: string
  readonly role: HostRole
  /** Its addresses on its first network, IPv4 before IPv6; none for the switch. */
  readonly ips: readonly Ip[]
  /** Where its pods get their addresses from; nodes only. */
  readonly podCidrs: readonly Prefix[]
  /** Paths below /proc/sys, where `*` stands for every interface, and what to write there, in this order. */
  readonly sysctls: readonly (readonly [path: string, value: string])[]
  /** Lines for `ip -batch` inside the namespace, once the links exist. */
  readonly commands: readonly string[]
}

/** All that has to be done to bring a lab's network up, as values. */
export type Topology = {
  readonly hosts: readonly Host[]
  /** Lines for `ip -batch` in the namespace of process 1, which becomes the host `control`. */
  readonly create: readonly string[]
  /** ServiceCIDRs, IPv4 first. */
  readonly serviceCidrs: readonly Prefix[]
}

/** The port of the API server on the host `control`. */
export const API_PORT = 6443

/** Nodes have addresses from .11 to .90, clients from .201 to .250: those from .100 to .199 are left for Services. */
export const LIMITS = { nodesMax: 80, clientsMax: 50 } as const

const LAN4 = '192.0.2'
const LAN6 = '2001:db8:0:1:'
const FAR4 = '203.0.113'
const FAR6 = '2001:db8:0:2:'

/** The address of the API server's host in both families. */
export const CONTROL_IPS: readonly Ip[] = [`${LAN4}.2` as Ip, `${LAN6}:2` as Ip]

/**
 * The network of a lab: every host hangs on one bridge (192.0.2.0/24, 2001:db8:0:1::/64) in a namespace of its own, but `remote`,
 * which is behind `router` (203.0.113.0/24, 2001:db8:0:2::/64). Hosts know how to reach each node's pods.
 * @throws LabError when a count is out of range
 */
export function planTopology(shape: LabShape): Topology {
  checkCount('nodes', shape.nodes, 1, LIMITS.nodesMax)
  checkCount('clients', shape.clients, 0, LIMITS.clientsMax)
  const families = <T>(v4: T, v6: T): T[] => (shape.ipv6 ? [v4, v6] : [v4])
  const nodeNumbers = range(shape.nodes)
  const clientNumbers = range(shape.clients)
  const podCidrs = (i: number) => families(`10.244.${i}.0/24`, `2001:db8:244:${i}::/64`) as Prefix[]
  const nodeIps = (i: number) => lanIps(10 + i)
  function lanIps(suffix: number): Ip[] {
    return families(`${LAN4}.${suffix}`, `${LAN6}:${suffix}`) as Ip[]
  }

  const podRoutes = (except: number | undefined) =>
    nodeNumbers
      .filter(i => i !== except)
      .flatMap(i => podCidrs(i).map((cidr, family) => `route add ${cidr} via ${nodeIps(i)[family]}`))
  const lanHost = (name: string, role: HostRole, suffix: number, more: Partial<Host> = {}): Host => {
    const ips = lanIps(suffix)
    const gateway = lanIps(1)
    return {
      name,
      role,
      ips,
      podCidrs: more.podCidrs ?? [],
      sysctls: [...HOST_SYSCTLS, ...(more.sysctls ?? [])],
      commands: [
        ...LOOPBACK_UP,
        ...ips.map((ip, family) => address(ip, family === 0 ? 24 : 64, 'eth0')),
        'link set eth0 up',
        ...(role === 'router' ? [] : gateway.map(ip => `route add default via ${ip}`)),
        ...(more.commands ?? []),
      ],
    }
  }

  const router = lanHost('router', 'router', 1, {
    sysctls: ROUTER_SYSCTLS,
    commands: [
      ...families(address(`${FAR4}.1`, 24, 'eth1'), address(`${FAR6}:1`, 64, 'eth1')),
      'link set eth1 up',
      ...podRoutes(undefined),
    ],
  })
  const control = lanHost('control', 'control', 2, { commands: podRoutes(undefined) })
  const nodes = nodeNumbers.map(i =>
    lanHost(`node${i}`, 'node', 10 + i, {
      podCidrs: podCidrs(i),
      sysctls: NODE_SYSCTLS,
      commands: podRoutes(i),
    }),
  )
  const clients = clientNumbers.map(i => lanHost(`client${i}`, 'client', 200 + i))
  const remote: Host = {
    name: 'remote',
    role: 'remote',
    ips: families(`${FAR4}.11`, `${FAR6}:11`) as Ip[],
    podCidrs: [],
    sysctls: HOST_SYSCTLS,
    commands: [
      ...LOOPBACK_UP,
      ...families(address(`${FAR4}.11`, 24, 'eth0'), address(`${FAR6}:11`, 64, 'eth0')),
      'link set eth0 up',
      ...families(`route add default via ${FAR4}.1`, `route add default via ${FAR6}:1`),
    ],
  }
  const onLan = [control, router, ...nodes, ...clients]
  const bridge: Host = {
    name: SWITCH,
    role: 'switch',
    ips: [],
    podCidrs: [],
    // A switch has no addresses of its own, and must not answer or report for any.
    sysctls: [['net/ipv6/conf/*/disable_ipv6', '1']],
    commands: [
      ...LOOPBACK_UP,
      // Ports forward at once; and without a querier, snooping would flood all the same.
      'link add lan type bridge forward_delay 0 stp_state 0 mcast_snooping 0',
      ...onLan.map(host => `link set ${switchPort(host.name)} master lan up`),
      'link set lan up',
    ],
  }
  const hosts = [bridge, ...onLan, remote]
  return {
    hosts,
    create: [
      ...hosts.map(host =>
        host.role === 'control' ? `netns attach ${host.name} 1` : `netns add ${host.name}`,
      ),
      ...onLan.map(
        ({ name }) => `link add eth0 netns ${name} type veth peer name ${switchPort(name)} netns ${SWITCH}`,
      ),
      'link add eth1 netns router type veth peer name eth0 netns remote',
    ],
    serviceCidrs: families('10.96.0.0/16', '2001:db8:96::/112') as Prefix[],
  }
}

/** The namespace that holds the bridge. */
export const SWITCH = 'switch'

/** The bridge's port that leads to a host. */
export function switchPort(host: string): string {
  return `p-${host}`
}

/** The gateway that every pod sees: no host has this address, its MAC is written into each pod. */
const POD_GATEWAY4 = '169.254.1.1'
const POD_GATEWAY6 = 'fe80::1'
const POD_GATEWAY_MAC = 'ee:ee:ee:ee:ee:ee'

export type PodLink = {
  /** The namespace of the pod. */
  readonly namespace: string
  readonly node: string
  /** The node's end, at most 15 characters. */
  readonly interfaceName: string
  readonly ips: readonly Ip[]
}

/**
 * A pod hangs on its node by a pair of interfaces without a shared network: the node has a route to each of its addresses, the
 * pod a default route, so that every packet of a pod, also to its neighbour, passes its node's tables.
 */
export function planPod(pod: PodLink): Pick<Topology, 'create'> & { host: Host; nodeCommands: string[] } {
  const v6 = (ip: Ip) => ip.includes(':')
  return {
    create: [
      `netns add ${pod.namespace}`,
      `link add ${pod.interfaceName} netns ${pod.node} address ${POD_GATEWAY_MAC} type veth peer name eth0 netns ${pod.namespace}`,
    ],
    nodeCommands: [
      `link set ${pod.interfaceName} up`,
      ...pod.ips.map(ip => `route replace ${ip} dev ${pod.interfaceName}`),
    ],
    host: {
      name: pod.namespace,
      role: 'client',
      ips: pod.ips,
      podCidrs: [],
      sysctls: HOST_SYSCTLS,
      commands: [
        ...LOOPBACK_UP,
        ...pod.ips.map(ip => address(ip, v6(ip) ? 128 : 32, 'eth0')),
        'link set eth0 up',
        ...(pod.ips.some(ip => !v6(ip))
          ? [
              `neigh replace ${POD_GATEWAY4} lladdr ${POD_GATEWAY_MAC} dev eth0 nud permanent`,
              `route add ${POD_GATEWAY4} dev eth0 scope link`,
              `route add default via ${POD_GATEWAY4} dev eth0`,
            ]
          : []),
        ...(pod.ips.some(v6)
          ? [
              `neigh replace ${POD_GATEWAY6} lladdr ${POD_GATEWAY_MAC} dev eth0 nud permanent`,
              `route add default via ${POD_GATEWAY6} dev eth0`,
            ]
          : []),
      ],
    },
  }
}

const LOOPBACK_UP = ['link set lo up']

const HOST_SYSCTLS: Host['sysctls'] = [
  // Addresses are usable at once: nothing else in the lab can have them.
  ['net/ipv6/conf/*/accept_dad', '0'],
  ['net/ipv6/conf/*/dad_transmits', '0'],
  ['net/ipv6/conf/*/accept_ra', '0'],
  ['net/ipv6/conf/*/autoconf', '0'],
  ['net/ipv4/conf/*/accept_redirects', '0'],
  ['net/ipv6/conf/*/accept_redirects', '0'],
  ['net/ipv4/ping_group_range', '0 0'],
]

const FORWARDING: Host['sysctls'] = [
  ['net/ipv4/ip_forward', '1'],
  ['net/ipv6/conf/*/forwarding', '1'],
  ['net/ipv4/conf/*/rp_filter', '0'],
  ['net/ipv4/conf/*/send_redirects', '0'],
]

const ROUTER_SYSCTLS: Host['sysctls'] = [
  ...FORWARDING,
  // Spread flows, not only pairs of hosts, over equal routes.
  ['net/ipv4/fib_multipath_hash_policy', '1'],
]

const NODE_SYSCTLS: Host['sysctls'] = [
  ...FORWARDING,
  // Answer only for what the asked interface has, and ask with its address, as on a balancer node.
  ['net/ipv4/conf/*/arp_ignore', '1'],
  ['net/ipv4/conf/*/arp_announce', '2'],
  // Packets that come by another node after a takeover are not out of window.
  ['net/netfilter/nf_conntrack_tcp_be_liberal', '1'],
]

function address(ip: string, length: number, device: string): string {
  return `address add ${ip}/${length} dev ${device}${ip.includes(':') ? ' nodad' : ''}`
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1)
}

function checkCount(what: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return
  throw new LabError('bad-argument', `a lab has ${min} to ${max} ${what}, not ${value}`)
}
