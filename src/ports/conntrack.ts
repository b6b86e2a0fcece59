import type { Ip } from '../addr/ip.ts'

export type FlowEnd = { readonly ip: Ip; readonly port: number }

/** One tracked flow of a protocol without a visible end: where it was sent, and who answers. */
export type ConntrackFlow = {
  readonly protocol: 'UDP' | 'SCTP'
  readonly originalSource: FlowEnd
  readonly originalDestination: FlowEnd
  /** Differs from `originalDestination` where the destination is translated. */
  readonly replySource: FlowEnd
}

/** All flows with this destination and, where given, this answering end. */
export type FlowSelector = {
  readonly protocol: 'UDP' | 'SCTP'
  readonly originalDestination: FlowEnd
  readonly replySource?: FlowEnd
}

/** Connection tracking of one network namespace. */
export interface Conntrack {
  /** @throws ConntrackError */
  list(protocol: 'UDP' | 'SCTP'): Promise<ConntrackFlow[]>
  /**
   * Forgets flows: their next packet is treated as the first of a new one.
   * @returns how many there were
   * @throws ConntrackError
   */
  flush(selector: FlowSelector): Promise<number>
}

export class ConntrackError extends Error {
  override readonly name = 'ConntrackError'
  readonly code: 'not-installed' | 'not-permitted' | 'refused'

  constructor(code: ConntrackError['code'], message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** Flows set by the test; refuses on demand. */
export class FakeConntrack implements Conntrack {
  flows: ConntrackFlow[] = []
  readonly flushed: FlowSelector[] = []
  refuse: ConntrackError | undefined

  list(protocol: 'UDP' | 'SCTP'): Promise<ConntrackFlow[]> {
    if (this.refuse !== undefined) return Promise.reject(this.refuse)
    return Promise.resolve(this.flows.filter(flow => flow.protocol === protocol))
  }

  flush(selector: FlowSelector): Promise<number> {
    if (this.refuse !== undefined) return Promise.reject(this.refuse)
    this.flushed.push(selector)
    const before = this.flows.length
    this.flows = this.flows.filter(flow => !selects(selector, flow))
    return Promise.resolve(before - this.flows.length)
  }
}

function selects(selector: FlowSelector, flow: ConntrackFlow): boolean {
  return (
    selector.protocol === flow.protocol &&
    sameEnd(selector.originalDestination, flow.originalDestination) &&
    (selector.replySource === undefined || sameEnd(selector.replySource, flow.replySource))
  )
}

function sameEnd(a: FlowEnd, b: FlowEnd): boolean {
  return a.ip === b.ip && a.port === b.port
}
