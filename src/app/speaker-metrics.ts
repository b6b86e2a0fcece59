import type { MetricDefinition } from '../sys/metrics.ts'

export const UPDATES = 'metallb_k8s_client_updates_total'
export const UPDATE_ERRORS = 'metallb_k8s_client_update_errors_total'

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
    name: UPDATES,
    help: 'Services and configurations that were looked at because something changed',
    type: 'counter',
    labels: [],
  },
  {
    name: UPDATE_ERRORS,
    help: 'Configurations that were refused, and passes over the status objects that failed',
    type: 'counter',
    labels: [],
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
  {
    name: 'lodestone_failover_phase_seconds',
    help: 'Takeovers from nodes that were lost or left: from the last sign of life to the suspicion (detection), to the majority of the votes (confirmation), each once for a loss, and to the announcement of each address (announcement)',
    type: 'histogram',
    labels: ['phase'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10],
  },
  {
    name: 'lodestone_entitled',
    help: '1 while a majority of the voters lets this node answer, or it is alone',
    type: 'gauge',
    labels: [],
  },
  {
    name: 'lodestone_standing',
    help: '1 when this node has proved stable since it started or came back; before, those that have go first',
    type: 'gauge',
    labels: [],
  },
  {
    name: 'lodestone_alone',
    help: '1 while no other speaker was heard in this run though some are registered',
    type: 'gauge',
    labels: [],
  },
  {
    name: 'lodestone_round',
    help: 'Rises each time that voters took this node for gone, from 1 at its start',
    type: 'gauge',
    labels: [],
  },
  {
    name: 'lodestone_voters',
    help: 'Speakers whose majority decides who is there',
    type: 'gauge',
    labels: [],
  },
  {
    name: 'lodestone_peers',
    help: 'Other speakers, by what the majority holds of them',
    type: 'gauge',
    labels: ['level'],
  },
  {
    name: 'lodestone_worst_patience_seconds',
    help: 'The longest silence of another speaker that is no suspicion yet: it is raised where heartbeats are irregular',
    type: 'gauge',
    labels: [],
  },
  {
    name: 'lodestone_voted_down_total',
    help: 'How often a majority took this node for gone and others took what it announced',
    type: 'counter',
    labels: [],
  },
  {
    name: 'lodestone_address_conflicts_total',
    help: 'Frames of hosts that are no speakers and have an address of ours',
    type: 'counter',
    labels: ['action'],
  },
  {
    name: 'lodestone_wire_questions_total',
    help: 'Questions to the wire before a takeover',
    type: 'counter',
    labels: [],
  },
  {
    name: 'lodestone_takeovers_delayed_total',
    help: 'Takeovers that waited because the former owner still answered',
    type: 'counter',
    labels: [],
  },
  {
    name: 'lodestone_known_neighbours',
    help: 'Hosts that asked for an address and are told by themselves when it moves',
    type: 'gauge',
    labels: [],
  },
]
