import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Endpoints = {
  /** Serves probes of the kubelet: false is 503. */
  readonly ready: () => boolean
  readonly metrics: () => Promise<string>
  /** JSON for `GET /status`. */
  readonly status: () => unknown
}

/**
 * Serves /healthz, /readyz, /metrics and /status over plain HTTP. Port 0: the kernel chooses.
 * @throws when the address is taken
 */
export async function serve(
  host: string,
  port: number,
  endpoints: Endpoints,
): Promise<{ readonly port: number; close(): void }> {
  const server = createServer((request, response) => {
    const answer = (status: number, type: string, body: string) => {
      response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) })
      response.end(request.method === 'HEAD' ? undefined : body)
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD')
      answer(405, 'text/plain', 'only GET\n')
      return
    }
    const [path = ''] = (request.url ?? '').split('?')
    switch (path) {
      case '/healthz':
        answer(200, 'text/plain', 'ok\n')
        break
      case '/readyz':
        answer(endpoints.ready() ? 200 : 503, 'text/plain', endpoints.ready() ? 'ok\n' : 'not ready\n')
        break
      case '/status':
        answer(200, 'application/json', `${JSON.stringify(endpoints.status())}\n`)
        break
      case '/metrics':
        endpoints.metrics().then(
          text => answer(200, 'text/plain; version=0.0.4', text),
          (error: unknown) => answer(500, 'text/plain', `${String(error)}\n`),
        )
        break
      default:
        answer(404, 'text/plain', 'there is /healthz, /readyz, /metrics and /status\n')
    }
  })
  await listening(server, host, port)
  return { port: (server.address() as AddressInfo).port, close: () => server.close() }
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', error =>
      reject(new Error(`cannot serve on ${host} port ${port}: ${error.message}`, { cause: error })),
    )
    server.listen(port, host, resolve)
  })
}
