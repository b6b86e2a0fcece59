/** The ways in which a node of the lab can die, or be taken out. */
export const KILL_WAYS = ['link', 'blackhole', 'process', 'freeze', 'drain'] as const

/**
 * - link: its switch port goes down, the node sees no carrier
 * - blackhole: the switch drops its frames, the carrier stays
 * - process: SIGKILL to its speaker, the rest of the node goes on
 * - freeze: SIGSTOP to its speaker
 * - drain: SIGTERM to its speaker, which hands over and leaves
 */
export type KillWay = (typeof KILL_WAYS)[number]

export type ProcessStatus = {
  readonly state: 'starting' | 'running' | 'frozen' | 'stopped' | 'restarting'
  /** As the lab's own process namespace counts. */
  readonly pid: number | undefined
  /** Resident memory in bytes. */
  readonly rssBytes: number | undefined
  /** Starts after the first that nobody asked for. */
  readonly restarts: number
}

export type LabNodeStatus = {
  readonly name: string
  readonly ips: readonly string[]
  readonly podCidrs: readonly string[]
  readonly link: 'up' | 'cut' | 'blackholed'
  /** undefined in a lab without a cluster. */
  readonly speaker: ProcessStatus | undefined
}

export type LabServiceStatus = {
  readonly namespace: string
  readonly name: string
  readonly type: string
  readonly clusterIps: readonly string[]
  /** From status.loadBalancer. */
  readonly externalIps: readonly string[]
  /** Names of the nodes that announce it, from ServiceL2Status. */
  readonly owners: readonly string[]
}

export type LabPodStatus = {
  readonly namespace: string
  readonly name: string
  readonly node: string
  readonly ips: readonly string[]
  readonly phase: string
  readonly ready: boolean
}

/** Answer of GET /status on the lab's control socket. */
export type LabStatus = {
  readonly name: string
  readonly nodes: readonly LabNodeStatus[]
  /** Hosts that are no nodes: clients, router and so on. */
  readonly hosts: readonly { readonly name: string; readonly role: string; readonly ips: readonly string[] }[]
  readonly controller: ProcessStatus | undefined
  readonly services: readonly LabServiceStatus[]
  readonly pods: readonly LabPodStatus[]
  /** Why services and pods are not known at this moment, e.g. while a fault is injected into the API server. */
  readonly apiError?: string
}

/** Body of POST /kill and, without `how`, of POST /revive. */
export type LabNodeRequest = { readonly node: string; readonly how?: KillWay }

/**
 * How the lab's API server can misbehave.
 * refuse: connections are closed; hang: requests get no answer; half-json: answers break off; close-watches: watches end at once; a
 * status: that instead of an answer.
 */
export type ApiFault =
  | 'refuse'
  | 'hang'
  | 'half-json'
  | 'close-watches'
  | { readonly status: 410 | 429 | 500 | 503 }

/** Body of POST /fault. Without a fault, all of them end. */
export type ApiFaultRequest = {
  readonly fault?: ApiFault
  /** Only this user meets it. Absent: everybody, the lab's own controllers too. */
  readonly user?: string
}

/** The users as which the lab's processes come to its API server. */
export const LAB_USERS = {
  speaker: 'system:serviceaccount:metallb-system:speaker',
  controller: 'system:serviceaccount:metallb-system:controller',
} as const

/** Body of every answer that is not 200. */
export type LabErrorBody = { readonly error: string }

export function isKillWay(text: unknown): text is KillWay {
  return KILL_WAYS.some(way => way === text)
}

/** Checks a request's body; undefined when it has not that shape. */
export function parseNodeRequest(body: unknown): LabNodeRequest | undefined {
  if (typeof body !== 'object' || body === null || !('node' in body) || typeof body.node !== 'string') {
    return undefined
  }
  if (!('how' in body)) return { node: body.node }
  return isKillWay(body.how) ? { node: body.node, how: body.how } : undefined
}

const NAMED_FAULTS = ['refuse', 'hang', 'half-json', 'close-watches'] as const
const STATUS_FAULTS = [410, 429, 500, 503] as const

/** Checks a request's body; undefined when it has not that shape. */
export function parseFaultRequest(body: unknown): ApiFaultRequest | undefined {
  if (typeof body !== 'object' || body === null) return undefined
  const user = 'user' in body ? body.user : undefined
  if (user !== undefined && typeof user !== 'string') return undefined
  const scope = user === undefined ? {} : { user }
  if (!('fault' in body)) return scope
  const { fault } = body
  const named = NAMED_FAULTS.find(name => name === fault)
  if (named !== undefined) return { fault: named, ...scope }
  if (typeof fault !== 'object' || fault === null || !('status' in fault)) return undefined
  const status = STATUS_FAULTS.find(code => code === fault.status)
  return status === undefined ? undefined : { fault: { status }, ...scope }
}
