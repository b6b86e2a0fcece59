/** How the nodes answer for an address at layer 2: one for everybody, or each candidate for its share of those who ask. */
export type Layer2Mode = 'single' | 'sharded'

/** On an L2Advertisement or a Service; what the Service says goes first. */
export const LAYER2_MODE_ANNOTATION = 'lodestone.dev/layer2-mode'

export const LAYER2_MODES: readonly Layer2Mode[] = ['single', 'sharded']

/** undefined for anything else, and for nothing. */
export function parseLayer2Mode(value: unknown): Layer2Mode | undefined {
  return LAYER2_MODES.find(mode => mode === value)
}

export function unknownLayer2Mode(value: unknown): string {
  return `${LAYER2_MODE_ANNOTATION} is ${JSON.stringify(value)}: it must be ${LAYER2_MODES.join(' or ')}, and counts as not written`
}
