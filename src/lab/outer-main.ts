import type { OuterConfig } from './messages.ts'
import { runOuter } from './outer.ts'

await runOuter(JSON.parse(process.argv[2] ?? '') as OuterConfig)
