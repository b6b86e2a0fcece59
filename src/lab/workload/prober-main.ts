import type { IncomingMessage } from 'node:http'
import { get as getHttp } from 'node:http'
import { get as getHttps } from 'node:https'
import { connect } from 'node:net'
import type { Check, CheckLine, CheckResult, ResultLine } from './prober.ts'

// The helper process of prober.ts: checks come in as lines, results go out as lines. It ends when its input does.

function checkTcp(check: Check): Promise<CheckResult> {
  return new Promise(done => {
    const socket = connect({ host: check.host, port: check.port, timeout: check.timeoutMs })
    const end = (ok: boolean, message: string): void => {
      done({ ok, message })
      socket.destroy()
    }
    socket.on('connect', () => end(true, 'connected'))
    socket.on('timeout', () => end(false, `no connection within ${check.timeoutMs} ms`))
    socket.on('error', error => end(false, error.message))
  })
}

/** Status 200 to 399 is good; redirects are not followed. */
function checkHttp(check: Check): Promise<CheckResult> {
  return new Promise(done => {
    const options = {
      host: check.host,
      port: check.port,
      path: check.path ?? '/',
      headers: { 'user-agent': 'kube-probe/1.30', ...check.headers },
      agent: false,
      // As the kubelet: a probe asks whether the server answers, not who signed its certificate.
      rejectUnauthorized: false,
    }
    const answered = (response: IncomingMessage): void => {
      const status = response.statusCode ?? 0
      done({ ok: status >= 200 && status < 400, message: `HTTP ${status}` })
      request.destroy()
    }
    const request = check.scheme === 'https' ? getHttps(options, answered) : getHttp(options, answered)
    const timer = setTimeout(() => {
      done({ ok: false, message: `no answer within ${check.timeoutMs} ms` })
      request.destroy()
    }, check.timeoutMs)
    request.on('error', error => done({ ok: false, message: error.message }))
    request.on('close', () => clearTimeout(timer))
  })
}

async function serve(line: string): Promise<void> {
  const check = JSON.parse(line) as CheckLine
  const result = await (check.type === 'http' ? checkHttp(check) : checkTcp(check))
  const answer: ResultLine = { id: check.id, ...result }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}

let rest = ''
process.stdin.setEncoding('utf8')
process.stdin.on('data', (text: string) => {
  const lines = (rest + text).split('\n')
  rest = lines.pop() ?? ''
  for (const line of lines) void serve(line)
})
process.stdin.on('end', () => process.exit(0))
