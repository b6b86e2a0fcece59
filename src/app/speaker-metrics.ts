import type { MetricDefinition } from '../sys/metrics.ts'

/** Names and labels as MetalLB has them (metallb.md 1.9), then ours. */
export const SPEAKER_METRICS: readonly MetricDefinition[] = [
  {
    name: 'metallb_speaker_announced',
    help: 'Services that this node announces: 1 for each address',
    type: 'gauge',
    labels: ['service', 'protocol', 'node', 'ip'],
  },
  {
    name: 'metallb_layer2_requests_received',
    help: 'ARP and NDP requests for an address that this node owns',
    type: 'counter',
    labels: ['ip'],
  },
  {
    name: 'metallb_layer2_responses_sent',
    help: 'ARP and NDP answers',
    type: 'counter',
    labels: ['ip'],
  },
  {
    name: 'metallb_layer2_gratuitous_sent',
    help: 'Frames that announced an address to everybody',
    type: 'counter',
    labels: ['ip'],
  },
  {
    name: 'metallb_k8s_client_config_loaded_bool',
    help: '1 once a valid configuration was read',
    type: 'gauge',
    labels: [],
  },
  {
    name: 'metallb_k8s_client_config_stale_bool',
    help: '1 while an older configuration runs because the present one is invalid',
    type: 'gauge',
    labels: [],
  },
  {
    name: 'lodestone_reflex_dropped_total',
    help: 'Frames and heartbeats that were dropped on purpose',
    type: 'counter',
    labels: ['reason'],
  },
  {
    name: 'lodestone_reflex_frames_lost_total',
    help: 'Frames lost in full receive queues',
    type: 'counter',
    labels: [],
  },
  {
    name: 'lodestone_heartbeats_sent_total',
    help: 'Heartbeats to other speakers',
    type: 'counter',
    labels: [],
  },
  {
    name: 'lodestone_heartbeats_received_total',
    help: 'Heartbeats from other speakers, refused ones included',
    type: 'counter',
    labels: [],
  },
  {
    name: 'lodestone_reflex_worst_lateness_seconds',
    help: 'The worst lateness of a timer of the reflex thread in the last five seconds',
    type: 'gauge',
    labels: [],
  },
]
