import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { Command, InvalidArgumentError, Option } from 'commander'
import type { KillWay, LabStatus, ProcessStatus } from '../api/lab.ts'
import { KILL_WAYS } from '../api/lab.ts'
import { table } from './table.ts'

/** `lodestone lab`: the cluster on one machine. Its parts are loaded when a command runs. */
export function labCommand(): Command {
  const lab = new Command('lab')
    .description('a cluster on this machine, out of network namespaces')
    // So that the flags behind a host's name are the command's, not ours.
    .enablePositionalOptions()

  withName(lab.command('up'))
    .description('start a lab and leave it running')
    .option('--nodes <n>', 'how many nodes', count, 3)
    .option('--clients <n>', 'how many clients on the network of the nodes', count, 1)
    .option('--ipv6', 'dual stack', false)
    .action(up)

  withName(lab.command('status'))
    .description('show nodes, Services with their addresses and owners, pods')
    .addOption(
      new Option('-o, --output <format>', 'how to print it').choices(['text', 'json']).default('text'),
    )
    .action(status)

  withName(lab.command('exec'))
    .description('run a command on a host of the lab: a node, a client, router, remote, control or switch')
    .argument('<host>')
    .argument('<command...>', 'behind --')
    .passThroughOptions()
    .action(exec)

  withName(lab.command('kubeconfig'))
    .description('print the kubeconfig of the lab')
    .option('--path', 'print where it is instead', false)
    .action(kubeconfig)

  withName(lab.command('kubectl'))
    .description('run kubectl against the lab')
    .argument('<args...>', 'behind --')
    .passThroughOptions()
    .action(kubectl)

  withName(lab.command('kill'))
    .description('take a node out')
    .argument('<node>')
    .addOption(
      new Option(
        '--how <way>',
        'link: pull its cable; blackhole: drop its frames, the carrier stays; process: SIGKILL its speaker; ' +
          'freeze: SIGSTOP its speaker; drain: ask its speaker to leave, and wait',
      )
        .choices(KILL_WAYS)
        .default('link'),
    )
    .action(kill)

  withName(lab.command('revive'))
    .description('undo all that kill did to a node')
    .argument('<node>')
    .action(revive)

  lab
    .command('demo')
    .description('show it all: Services get addresses, their owners are killed, clients still reach them')
    .option('--name <name>', 'the lab to make for it', 'demo')
    .option('--json <file>', 'write all that was seen')
    .action(demo)

  withName(lab.command('down')).description('end the lab and remove all its traces').action(down)
  return lab
}

type Named = { readonly name: string }

function withName(command: Command): Command {
  return command.option('--name <name>', 'which lab, when there are several', 'default')
}

function count(text: string): number {
  if (!/^\d{1,4}$/.test(text)) throw new InvalidArgumentError('a whole number is needed')
  return Number(text)
}

async function up(options: Named & { nodes: number; clients: number; ipv6: boolean }): Promise<void> {
  const { startLab } = await import('../lab/lab.ts')
  const abort = new AbortController()
  const interrupted = (): void => abort.abort(new Interrupted())
  process.on('SIGINT', interrupted)
  process.on('SIGTERM', interrupted)
  const startedAt = performance.now()
  await orFail(async () => {
    const lab = await startLab({
      ...options,
      keep: true,
      signal: abort.signal,
      onProgress: text => console.error(`  ${text}`),
    })
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
    const flag = options.name === 'default' ? '' : ` --name ${options.name}`
    console.log(
      [
        `lab ${options.name} is up after ${seconds} s: ${options.nodes} nodes, ${options.clients} clients`,
        `  export KUBECONFIG=${lab.kubeconfigPath}`,
        '  kubectl get nodes',
        `  lodestone lab exec${flag} client1 -- curl http://ADDRESS/`,
        `  lodestone lab down${flag}`,
      ].join('\n'),
    )
  })
}

class Interrupted extends Error {
  constructor() {
    super('interrupted, nothing is left behind')
  }
}

async function status(options: Named & { output: string }): Promise<void> {
  await orFail(async () => {
    const { openLab } = await import('../lab/lab.ts')
    const answer = await openLab(options.name).status()
    console.log(options.output === 'json' ? JSON.stringify(answer, undefined, 2) : statusText(answer))
  })
}

/** The status as tables for people. */
export function statusText(answer: LabStatus): string {
  const parts = [
    table(
      ['NODE', 'ADDRESSES', 'LINK', 'SPEAKER', 'MEMORY', 'RESTARTS'],
      answer.nodes.map(node => [
        node.name,
        node.ips.join(','),
        node.link,
        node.speaker?.state ?? '-',
        megabytes(node.speaker),
        String(node.speaker?.restarts ?? '-'),
      ]),
    ),
    table(
      ['HOST', 'ADDRESSES'],
      answer.hosts.filter(host => host.ips.length > 0).map(host => [host.name, host.ips.join(',')]),
    ),
  ]
  if (answer.controller !== undefined) {
    parts.push(`controller: ${answer.controller.state}, ${megabytes(answer.controller)}`)
  }
  if (answer.services.length > 0) {
    parts.push(
      table(
        ['SERVICE', 'TYPE', 'CLUSTER-IP', 'EXTERNAL-IP', 'OWNER'],
        answer.services.map(service => [
          `${service.namespace}/${service.name}`,
          service.type,
          service.clusterIps.join(',') || '-',
          service.externalIps.join(',') || '-',
          service.owners.join(',') || '-',
        ]),
      ),
    )
  }
  if (answer.pods.length > 0) {
    parts.push(
      table(
        ['POD', 'NODE', 'ADDRESSES', 'PHASE', 'READY'],
        answer.pods.map(pod => [
          `${pod.namespace}/${pod.name}`,
          pod.node || '-',
          pod.ips.join(',') || '-',
          pod.phase,
          pod.ready ? 'yes' : 'no',
        ]),
      ),
    )
  }
  if (answer.apiError !== undefined) parts.push(`Services and pods are not known: ${answer.apiError}`)
  return parts.join('\n\n')
}

function megabytes(process: ProcessStatus | undefined): string {
  return process?.rssBytes === undefined ? '-' : `${Math.round(process.rssBytes / 1024 / 1024)} MiB`
}

async function exec(host: string, command: string[], options: Named): Promise<void> {
  await orFail(async () => {
    const { openLab } = await import('../lab/lab.ts')
    const child = openLab(options.name).spawn(host, behindDashes(command), { stdio: 'inherit' })
    await follow(child)
  })
}

async function kubectl(args: string[], options: Named): Promise<void> {
  await orFail(async () => {
    const { openLab } = await import('../lab/lab.ts')
    const env = { ...process.env, KUBECONFIG: openLab(options.name).kubeconfigPath }
    await follow(spawn('kubectl', behindDashes(args), { stdio: 'inherit', env }))
  })
}

/** The `--` that sets a command apart from our own flags is not part of it. */
function behindDashes(command: readonly string[]): readonly string[] {
  return command[0] === '--' ? command.slice(1) : command
}

/** Ends as the child ends; the terminal signals both, so a signal is the child's to act on. */
async function follow(child: ReturnType<typeof spawn>): Promise<void> {
  const { exitStatus } = await import('../lab/netns.ts')
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, signal) => resolve(exitStatus(code, signal)))
  })
}

async function kubeconfig(options: Named & { path: boolean }): Promise<void> {
  await orFail(async () => {
    const { openLab } = await import('../lab/lab.ts')
    const { kubeconfigPath } = openLab(options.name)
    if (options.path) console.log(kubeconfigPath)
    else process.stdout.write(readFileSync(kubeconfigPath, 'utf8'))
  })
}

const KILLED: Readonly<Record<KillWay, string>> = {
  link: 'is cut off: it sees no carrier',
  blackhole: 'is cut off silently: its carrier stays',
  process: 'has lost its speaker: SIGKILL',
  freeze: 'has a frozen speaker: SIGSTOP',
  drain: 'is drained: its speaker has handed over and left',
}

async function kill(node: string, options: Named & { how: KillWay }): Promise<void> {
  await orFail(async () => {
    const { openLab } = await import('../lab/lab.ts')
    await openLab(options.name).kill(node, options.how)
    console.log(`${node} ${KILLED[options.how]}`)
  })
}

async function revive(node: string, options: Named): Promise<void> {
  await orFail(async () => {
    const { openLab } = await import('../lab/lab.ts')
    await openLab(options.name).revive(node)
    console.log(`${node} is back`)
  })
}

async function demo(options: Named & { json?: string }): Promise<void> {
  const abort = new AbortController()
  const interrupted = (): void => abort.abort(new Interrupted())
  process.on('SIGINT', interrupted)
  process.on('SIGTERM', interrupted)
  await orFail(async () => {
    const { runDemo } = await import('../lab/demo/demo.ts')
    const { styleOf } = await import('../lab/demo/style.ts')
    const { problems } = await runDemo({
      ...options,
      style: styleOf(process.stdout, process.env),
      print: line => console.log(line),
      signal: abort.signal,
    })
    if (problems.length > 0) process.exitCode = 1
  })
}

async function down(options: Named): Promise<void> {
  await orFail(async () => {
    const { downLab } = await import('../lab/lab.ts')
    const known = await downLab(options.name)
    console.log(known ? `lab ${options.name} is down` : `no lab ${options.name} was running`)
  })
}

/** What people can act on is one message and exit status 1; anything else is our fault and shows its stack. */
async function orFail(action: () => Promise<void>): Promise<void> {
  const { LabError } = await import('../lab/error.ts')
  try {
    await action()
  } catch (error) {
    if (!(error instanceof LabError) && !(error instanceof Interrupted)) throw error
    console.error(`lodestone lab: ${error.message}`)
    process.exitCode = error instanceof Interrupted ? 130 : 1
  }
}
