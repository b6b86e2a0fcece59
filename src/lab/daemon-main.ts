import { runDaemon } from './daemon.ts'
import type { DaemonConfig } from './messages.ts'

await runDaemon(JSON.parse(process.argv[2] ?? '') as DaemonConfig)
