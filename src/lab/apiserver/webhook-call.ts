import { Agent, request } from 'node:https'
import { isIP } from 'node:net'
import { at, isRecord, list, record, text } from './objects.ts'
import type { Store } from './store.ts'

const AGENTS_MAX = 8

/**
 * Sends reviews to webhooks over HTTPS, and keeps connections open between reviews, as the real server does. A Service is looked up
 * in its EndpointSlices; the certificate must be for `name.namespace.svc`.
 */
export class WebhookCaller {
  readonly #store: Store
  readonly #agents = new Map<string, Agent>()

  constructor(store: Store) {
    this.#store = store
  }

  /** The review that comes back, JSON. @throws Error that says what went wrong */
  async call(clientConfig: unknown, review: object, timeoutMs: number): Promise<unknown> {
    const to = this.#resolve(record(clientConfig))
    const caBundle = text(at(clientConfig, 'caBundle'))
    const ca = caBundle === '' ? undefined : Buffer.from(caBundle, 'base64').toString()
    const body = Buffer.from(JSON.stringify(review))
    const agent = this.#agent(`${to.host}:${to.port} ${to.servername} ${caBundle}`)
    try {
      return await send({ ...to, ca, agent, timeoutMs }, body)
    } catch (error) {
      // Cut between two reviews: only that connection is lost.
      if (!(error instanceof ReusedConnectionError)) throw error
      return send({ ...to, ca, agent, timeoutMs }, body)
    }
  }

  close(): void {
    for (const agent of this.#agents.values()) agent.destroy()
    this.#agents.clear()
  }

  /** One for each authority: who trusts another one connects anew. */
  #agent(key: string): Agent {
    let agent = this.#agents.get(key)
    if (agent === undefined) {
      agent = new Agent({ keepAlive: true, maxFreeSockets: 4 })
      this.#agents.set(key, agent)
      const [oldest] = this.#agents
      if (this.#agents.size > AGENTS_MAX && oldest !== undefined) {
        this.#agents.delete(oldest[0])
        oldest[1].destroy()
      }
    }
    return agent
  }

  #resolve(clientConfig: Readonly<Record<string, unknown>>): {
    host: string
    port: number
    path: string
    servername: string
  } {
    const url = text(clientConfig['url'])
    if (url !== '') {
      const { hostname, port, pathname, search } = new URL(url)
      const host = hostname.replace(/^\[|\]$/g, '')
      // An address is no name to ask for (RFC 6066 section 3); the certificate is then compared with the host.
      const servername = isIP(host) === 0 ? host : ''
      return { host, port: Number(port || 443), path: pathname + search, servername }
    }
    const service = record(clientConfig['service'])
    const [namespace, name] = [text(service['namespace']), text(service['name'])]
    const port = typeof service['port'] === 'number' ? service['port'] : 443
    const found = this.#store.collection('/services').get(`${namespace}/${name}`)
    if (found === undefined) throw new Error(`service ${JSON.stringify(name)} not found`)
    const servicePort = list(at(found.object, 'spec', 'ports')).find(item => at(item, 'port') === port)
    if (servicePort === undefined) throw new Error(`no service port ${port} found for service "${name}"`)
    const portName = text(at(servicePort, 'name'))
    for (const { object } of this.#store.collection('discovery.k8s.io/endpointslices').all()) {
      if (object.metadata.namespace !== namespace) continue
      if (object.metadata.labels?.['kubernetes.io/service-name'] !== name) continue
      const target = list(object['ports']).find(item => text(at(item, 'name')) === portName)
      const endpoint = list(object['endpoints']).find(item => at(item, 'conditions', 'ready') !== false)
      const [host, targetPort] = [text(at(endpoint, 'addresses', 0)), at(target, 'port')]
      if (host === '' || typeof targetPort !== 'number') continue
      const path = text(service['path']) || '/'
      return { host, port: targetPort, path, servername: `${name}.${namespace}.svc` }
    }
    throw new Error(`no endpoints available for service ${JSON.stringify(name)}`)
  }
}

class ReusedConnectionError extends Error {
  override readonly name = 'ReusedConnectionError'
}

const ANSWER_BYTES_MAX = 16 * 1024 * 1024

function send(
  to: {
    host: string
    port: number
    path: string
    servername: string
    ca: string | undefined
    agent: Agent
    timeoutMs: number
  },
  body: Buffer,
): Promise<unknown> {
  const { ca, timeoutMs, ...where } = to
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        ...where,
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-length': body.length },
        ...(ca === undefined ? {} : { ca }),
        signal: AbortSignal.timeout(timeoutMs),
      },
      response => {
        const chunks: Buffer[] = []
        let size = 0
        response.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > ANSWER_BYTES_MAX) response.destroy(new Error('the answer is too large'))
          else chunks.push(chunk)
        })
        response.on('error', reject)
        response.on('end', () => {
          const answer = Buffer.concat(chunks).toString()
          if (response.statusCode !== 200) {
            reject(new Error(`status ${response.statusCode}: ${answer.slice(0, 300).trim()}`))
            return
          }
          try {
            const parsed: unknown = JSON.parse(answer)
            if (!isRecord(parsed)) throw new Error('no object')
            resolve(parsed)
          } catch (error) {
            reject(new Error(`the answer is no review: ${(error as Error).message}`))
          }
        })
      },
    )
    sent.on('error', (error: NodeJS.ErrnoException) => {
      const cut = error.code === 'ECONNRESET' || error.code === 'EPIPE'
      if (sent.reusedSocket && cut) reject(new ReusedConnectionError(error.message))
      else if (error.name === 'TimeoutError' || error.name === 'AbortError') {
        reject(new Error(`no answer within ${timeoutMs / 1000}s`))
      } else reject(error)
    })
    sent.end(body)
  })
}
