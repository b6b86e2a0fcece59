import { Command } from 'commander'
import type { LogLevel } from '../ports/log.ts'
import {
  healthPortOption,
  kubeconfigOption,
  lbClassOption,
  logLevelOption,
  namespaceOption,
  secretNameOption,
  stopSignal,
} from './flags.ts'

type Options = {
  readonly kubeconfig?: string
  readonly namespace: string
  readonly lbClass?: string
  readonly mlSecretName: string
  readonly healthProbePort: number
  readonly logLevel: LogLevel
}

export function controllerCommand(): Command {
  return new Command('controller')
    .description('give addresses to Services of type LoadBalancer')
    .addOption(kubeconfigOption())
    .addOption(namespaceOption())
    .addOption(lbClassOption())
    .addOption(secretNameOption())
    .addOption(healthPortOption())
    .addOption(logLevelOption())
    .action(async (options: Options) => {
      const { runControllerProcess } = await import('../app/controller-process.ts')
      await runControllerProcess(
        { ...options, kubeconfig: options.kubeconfig, lbClass: options.lbClass },
        stopSignal(),
      )
      process.exit(0)
    })
}
