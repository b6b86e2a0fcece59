import { Command, CommanderError } from 'commander'
import { version } from '../app/kube-flags.ts'
import { controllerCommand } from './controller.ts'
import { speakerCommand } from './speaker.ts'

/** Runs the command that `argv` names. The exit status is 0, 1 when it failed, 2 when it was not understood. */
export async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('lodestone')
    .description('A load balancer for bare-metal Kubernetes')
    .version(version())
    .exitOverride()
    .configureHelp({ sortSubcommands: true })
    .addCommand(controllerCommand())
    .addCommand(speakerCommand())
  // Its imports are many, and speakers should not hold them in memory.
  if (argv[2] === 'speaker' || argv[2] === 'controller') {
    // Only these.
  } else {
    const { labCommand } = await import('./lab.ts')
    program.addCommand(labCommand())
    const { validateCommand } = await import('./validate.ts')
    program.addCommand(validateCommand())
    const { planCommand } = await import('./plan.ts')
    program.addCommand(planCommand())
    const { explainCommand } = await import('./explain.ts')
    program.addCommand(explainCommand())
    const { statusCommand } = await import('./status.ts')
    program.addCommand(statusCommand())
  }
  for (const command of program.commands) inheritSettings(command)
  try {
    await program.parseAsync([...argv])
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2
      return
    }
    // One sentence for people; the stack is for whoever debugs.
    process.stderr.write(`lodestone: ${error instanceof Error ? error.message : String(error)}\n`)
    if (process.env['LODESTONE_DEBUG'] !== undefined && error instanceof Error)
      process.stderr.write(`${error.stack}\n`)
    process.exitCode = 1
  }
}

function inheritSettings(command: Command): void {
  command.exitOverride()
  for (const child of command.commands) inheritSettings(child)
}
