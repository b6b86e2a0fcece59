import { startWeb } from './web.ts'

/**
 * Environment: POD_NAME, NODE_NAME, POD_NAMESPACE; WEB_PORT (8080), WEB_STREAM_PORT (8081), WEB_HOST (all addresses);
 * WEB_DRAIN_MS (2000): how long it goes on answering after SIGTERM, while the world learns that it leaves.
 */
function environment(name: string, otherwise: string): string {
  const value = process.env[name]
  return value === undefined || value === '' ? otherwise : value
}

function number(name: string, otherwise: number, max: number): number {
  const value = Number(environment(name, String(otherwise)))
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new Error(`${name}: ${JSON.stringify(process.env[name])} is not a number in 0..${max}`)
  }
  return value
}

const host = environment('WEB_HOST', '')
const drainMs = number('WEB_DRAIN_MS', 2000, 3_600_000)
const web = await startWeb({
  pod: environment('POD_NAME', 'web'),
  node: environment('NODE_NAME', ''),
  namespace: environment('POD_NAMESPACE', 'default'),
  port: number('WEB_PORT', 8080, 65535),
  streamPort: number('WEB_STREAM_PORT', 8081, 65535),
  ...(host === '' ? {} : { host }),
})
console.log(JSON.stringify({ event: 'listening', ...web.ports }))

let leaving = false
function leave(): void {
  if (leaving) return
  leaving = true
  web.drain()
  console.log(JSON.stringify({ event: 'draining', drainMs }))
  setTimeout(() => void web.close(), drainMs)
}
process.on('SIGTERM', leave)
process.on('SIGINT', leave)
