import { Command, Option } from 'commander'
import { type ClusterPlan, planCluster } from '../plan/cluster-plan.ts'
import { difference, settled } from '../plan/difference.ts'
import { planLists } from '../plan/json.ts'
import {
  kubeconfigOption,
  lbClassOption,
  namespaceOption,
  nodeHealthOption,
  subnetElectionOption,
} from './flags.ts'
import {
  changed,
  collect,
  downOption,
  fileOption,
  InputError,
  type InputOptions,
  type Io,
  ignoreExcludeOption,
  PROCESS_IO,
  snapshotFrom,
  withCluster,
} from './inputs.ts'
import { ManifestError } from './manifests.ts'
import { changeText, planText, problemsText } from './plan-text.ts'

export type PlanOptions = InputOptions & {
  readonly output: 'text' | 'json'
  /** Manifests of a change; empty: the plan itself is shown. */
  readonly change: readonly string[]
}

/** `lodestone plan`: what the running system does with a cluster, or would do after a change. */
export function planCommand(io: Io = PROCESS_IO): Command {
  return new Command('plan')
    .description(
      'show who gets which address, who answers for it and what routers are told, or what a change moves',
    )
    .addOption(fileOption())
    .addOption(
      new Option(
        '--change <path>',
        'show what differs after kubectl apply of these manifests; with the annotation lodestone.dev/delete: "true" an object is deleted',
      )
        .argParser(collect)
        .default([], 'none'),
    )
    .addOption(downOption())
    .addOption(lbClassOption())
    .addOption(ignoreExcludeOption())
    .addOption(nodeHealthOption())
    .addOption(subnetElectionOption())
    .addOption(
      new Option('-o, --output <format>', 'how to print it').choices(['text', 'json']).default('text'),
    )
    .addOption(kubeconfigOption())
    .addOption(namespaceOption())
    .action(async (options: PlanOptions) => {
      io.exit(await exitCodeOf(io, () => plan(options, io)))
    })
}

/** @returns the exit status: 0, or 1 when the configuration is refused */
export async function plan(options: PlanOptions, io: Io): Promise<number> {
  return await withCluster(options, io, async ({ objects, kube }) => {
    const before = planCluster(snapshotFrom(objects, options))
    if (options.change.length === 0) {
      if (before.problems.length > 0) io.err(problemsText(before.problems))
      const text = options.output === 'json' ? planJsonLines(before) : [planText(before)]
      for (const line of text) if (line !== '') io.out(line)
      return before.refused ? 1 : 0
    }
    if (before.refused)
      io.err(`Before the change the configuration is refused:\n${problemsText(before.problems)}`)
    const cluster = { objects: settled(objects, before), kube }
    const next = await changed(cluster, options.change, options.namespace, io)
    const after = planCluster(snapshotFrom(next, options), before.config)
    if (after.problems.length > 0) io.err(problemsText(after.problems))
    if (after.refused) io.err('The changed configuration is refused as a whole: the one before it goes on.')
    const change = difference(before, after)
    io.out(options.output === 'json' ? json(change) : changeText(change))
    return after.refused ? 1 : 0
  })
}

/** As JSON.stringify would print the whole, in pieces of one item. */
function* planJsonLines(plan: ClusterPlan): Generator<string> {
  const { problems, ...lists } = planLists(plan)
  const shown = Object.entries(plan.problems.length === 0 ? lists : { ...lists, problems })
  for (const [index, [name, items]] of shown.entries()) {
    const opening = `${index === 0 ? '{\n' : ''}  ${JSON.stringify(name)}: [`
    const closing = index === shown.length - 1 ? ']\n}' : '],'
    let last: string | undefined
    for (const item of items) {
      yield last === undefined ? opening : `${last},`
      last = `    ${json(item).replaceAll('\n', '\n    ')}`
    }
    if (last === undefined) yield opening + closing
    else {
      yield last
      yield `  ${closing}`
    }
  }
}

function json(value: unknown): string {
  return JSON.stringify(value, undefined, 2)
}

/** What the caller did wrong is a sentence and its exit status: 2 for input that cannot be read at all. */
export async function exitCodeOf(io: Io, action: () => Promise<number>): Promise<number> {
  try {
    return await action()
  } catch (error) {
    if (!(error instanceof ManifestError) && !(error instanceof InputError)) throw error
    io.err(`lodestone: ${error.message}`)
    return error instanceof InputError ? error.exitCode : 2
  }
}
