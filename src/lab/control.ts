import type { Server } from 'node:http'
import { createServer, request } from 'node:http'
import type { LabErrorBody } from '../api/lab.ts'
import { LabError } from './error.ts'

export type ControlHandler = (method: string, path: string, body: unknown) => Promise<unknown>

const BODY_BYTES_MAX = 1024 * 1024

/** Serves JSON over HTTP on a Unix socket: what `handle` returns is the answer, a LabError of its becomes a 400. */
export function serveControl(socketPath: string, handle: ControlHandler): Promise<Server> {
  const server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = []
    let size = 0
    incoming.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > BODY_BYTES_MAX) incoming.destroy()
      else chunks.push(chunk)
    })
    incoming.on('end', () => {
      const answer = (status: number, body: unknown): void => {
        outgoing.writeHead(status, { 'content-type': 'application/json' })
        outgoing.end(JSON.stringify(body))
      }
      const refuse = (status: number, error: string): void => answer(status, { error } satisfies LabErrorBody)
      let body: unknown
      try {
        body = size === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString())
      } catch (error) {
        refuse(400, `the body is no JSON: ${String(error)}`)
        return
      }
      handle(incoming.method ?? '', incoming.url ?? '', body).then(
        result => answer(200, result ?? {}),
        error =>
          refuse(
            error instanceof LabError ? 400 : 500,
            error instanceof Error ? error.message : String(error),
          ),
      )
    })
  })
  return new Promise((resolve, reject) => {
    server.on('error', reject)
    server.listen(socketPath, () => resolve(server))
  })
}

/**
 * Asks the daemon of a lab.
 * @throws LabError 'refused' with its reason, 'not-running' when nobody answers
 */
export function askControl(
  socketPath: string,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method, path, agent: false }, incoming => {
      let text = ''
      incoming.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      incoming.on('error', fail)
      incoming.on('end', () => {
        let answer: unknown
        try {
          answer = JSON.parse(text)
        } catch (cause) {
          reject(new LabError('refused', 'the lab gave an answer that is no JSON', { cause }))
          return
        }
        if (incoming.statusCode === 200) resolve(answer)
        else reject(new LabError('refused', (answer as LabErrorBody).error))
      })
    })
    function fail(cause: Error): void {
      reject(
        new LabError(
          'not-running',
          `the lab does not answer (${cause.message}): see \`lodestone lab status\``,
          {
            cause,
          },
        ),
      )
    }
    outgoing.on('error', fail)
    outgoing.end(body === undefined ? undefined : JSON.stringify(body))
  })
}
