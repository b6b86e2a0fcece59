import { get } from 'node:http'
import { createInterface } from 'node:readline'
import { HEALTH_PORT } from './speaker-status.ts'

// Runs on a node of the lab: for each line on standard input, what the speaker there says of itself as one line; `null` when it
// says nothing.
const ANSWER_WITHIN_MS = 1000

const lines = createInterface({ input: process.stdin })
for await (const _ of lines) process.stdout.write(`${await ask()}\n`)

function ask(): Promise<string> {
  return new Promise(resolve => {
    const request = get(
      { host: '127.0.0.1', port: HEALTH_PORT, path: '/status', timeout: ANSWER_WITHIN_MS },
      response => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (part: string) => (text += part))
        response.on('end', () => resolve(response.statusCode === 200 ? text.trim() : 'null'))
        // It died in the middle of its answer.
        response.on('error', () => resolve('null'))
      },
    )
    request.on('timeout', () => request.destroy(new Error('no answer in time')))
    request.on('error', () => resolve('null'))
  })
}
