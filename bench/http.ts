import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startLab } from '../src/lab/lab.ts'
import { startMeasured } from './controller/measured-process.ts'
import type { Command } from './controller/messages.ts'
import type { Bench, Subject } from './frame.ts'
import type { Cost } from './http/messages.ts'

const WRITES = 10_000

const API_SERVER = fileURLToPath(new URL('controller/api-server-main.js', import.meta.url))
const REQUESTER = fileURLToPath(new URL('http/requester-main.js', import.meta.url))

const CPU = '10,000 writes, processor time of a process from its start'
const LOADED = 'resident memory before the first'
const RESIDENT = 'resident memory after the last'

/** The two ways in which our requests travel, each in a process of its own, which begins cold. */
export const bench: Bench = {
  title: 'requests to an API server over TLS: by undici, as the controller has it, and by Node.js',
  runs: 5,
  // Each run is a process of its own; the first one is cold for the API server, too.
  warmUp: 1,
  async open(scope) {
    const lab = await startLab({ name: `bench-${process.pid}`, bare: true, nodes: 1, signal: scope.signal })
    scope.defer(() => lab.down())
    const kubeconfig = join(lab.logFolder, 'kubeconfig')
    const api = await startMeasured(lab, 'control', [process.execPath, API_SERVER, kubeconfig])
    scope.progress(`creating ${WRITES} Services`)
    const create: Command = { do: 'create', services: WRITES, nodes: 1 }
    api.write(`${JSON.stringify(create)}\n`)
    await api.line(/^\{/)

    let runs = 0
    const subject = (name: string, program: 'undici' | 'node'): Subject => ({
      subject: name,
      cases: { [CPU]: 's', [LOADED]: 'MB', [RESIDENT]: 'MB' },
      async run() {
        // Other addresses each time: a write that changes nothing costs the server less.
        const args = [kubeconfig, program, String(WRITES), String(++runs)]
        const requester = await startMeasured(lab, 'control', [process.execPath, REQUESTER, ...args])
        const line = await Promise.race([requester.line(/^\{/), api.failed])
        const { cpuSeconds, loadedMb, residentMb } = JSON.parse(line) as Cost
        return { [CPU]: cpuSeconds, [LOADED]: loadedMb, [RESIDENT]: residentMb }
      },
    })
    return [subject('lodestone', 'undici'), subject('Node.js', 'node')]
  },
}
