// An unmodified kubectl, in every version at hand, against the lab's API server: each verb once, and what it prints.
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type ApiServer, startApiServer } from '../../src/lab/apiserver/server.ts'
import { FakeLog } from '../../src/ports/log.ts'
import { SystemClock } from '../../src/sys/clock.ts'

type Result = { code: number; stdout: string; stderr: string }

function run(
  file: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; stdin?: string } = {},
): Promise<Result> {
  return new Promise((done, fail) => {
    const child = execFile(
      file,
      args,
      { env: { ...process.env, ...options.env }, timeout: 60_000 },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code !== 'number') {
          fail(error)
          return
        }
        done({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
      },
    )
    child.stdin?.end(options.stdin ?? '')
  })
}

const SERVICE = (color: string, port = 80): string => `
apiVersion: v1
kind: Service
metadata:
  name: web
  labels: { color: ${color} }
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  externalTrafficPolicy: Local
  selector: { app: web }
  ports:
  - { name: http, port: ${port}, targetPort: 8080 }
  - { name: dns, port: 53, protocol: UDP }
`

const DEPLOYMENT = (image: string): string => `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
      - name: first
        image: ${image}
        env:
        - { name: COLOR, value: red }
      - name: second
        image: example.com/other:1.0
`

const CRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: widgets.example.com }
spec:
  group: example.com
  names: { plural: widgets, kind: Widget, shortNames: [wd] }
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: { status: {} }
    additionalPrinterColumns:
    - { name: Size, type: integer, jsonPath: .spec.size }
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: { type: integer, minimum: 1, maximum: 10, description: How big it is. }
              color: { type: string, default: red }
          status: { type: object, x-kubernetes-preserve-unknown-fields: true }
`
const WIDGET = (size: number, extra = ''): string => `
apiVersion: example.com/v1
kind: Widget
metadata: { name: w1 }
spec: { size: ${size}${extra} }
`

const BINARIES = [
  'kubectl',
  ...(process.env['LODESTONE_KUBECTL'] ?? '').split(delimiter).filter(path => path !== ''),
]

for (const binary of BINARIES) {
  const found = await run(binary, ['version', '--client', '-o', 'json']).catch(() => undefined)
  const skip = found === undefined ? `${binary} is not installed` : false
  describe(`${binary} against the embedded API server`, { skip }, () => {
    let server: ApiServer
    let directory: string
    let env: NodeJS.ProcessEnv
    let minor = 0

    before(async () => {
      directory = mkdtempSync(join(tmpdir(), 'lodestone-kubectl-'))
      server = await startApiServer({
        listen: [{ host: '127.0.0.1', port: 0 }],
        serverNames: ['localhost', '127.0.0.1'],
        tokens: new Map([['secret', { user: 'admin', groups: ['system:masters'] }]]),
        clusterCidrs: { services: ['10.96.0.0/16', 'fd00:10:96::/112'] },
        log: new FakeLog(),
        clock: new SystemClock(),
      })
      const kubeconfig = join(directory, 'kubeconfig')
      writeFileSync(kubeconfig, server.kubeconfig(server.url, 'secret'))
      env = { KUBECONFIG: kubeconfig, HOME: directory }
      const version = JSON.parse(found?.stdout ?? '{}') as { clientVersion?: { minor?: string } }
      minor = Number.parseInt(version.clientVersion?.minor ?? '0', 10)
    })
    after(async () => {
      await server.close()
      rmSync(directory, { recursive: true })
    })

    const kubectl = (args: string, stdin?: string): Promise<Result> =>
      run(binary, args.split(' '), stdin === undefined ? { env } : { env, stdin })
    /** What it prints; it must succeed. */
    const ok = async (args: string, stdin?: string): Promise<string> => {
      const result = await kubectl(args, stdin)
      assert.equal(result.code, 0, `kubectl ${args}: ${result.stderr}`)
      return result.stdout
    }
    const fails = async (args: string, stdin?: string): Promise<string> => {
      const result = await kubectl(args, stdin)
      assert.notEqual(result.code, 0, `kubectl ${args} should fail: ${result.stdout}`)
      return result.stderr
    }
    /** As a controller of the lab would: a merge patch, straight to the API. */
    const patchStatus = (path: string, status: unknown): Promise<void> =>
      new Promise((done, fail) => {
        const call = request(
          `${server.url}${path}/status`,
          {
            method: 'PATCH',
            ca: server.caPem,
            headers: { authorization: 'Bearer secret', 'content-type': 'application/merge-patch+json' },
          },
          response => {
            response.resume()
            response.on('end', () =>
              response.statusCode === 200 ? done() : fail(new Error(`status ${response.statusCode}`)),
            )
          },
        )
        call.on('error', fail)
        call.end(JSON.stringify({ status }))
      })

    it('get, version, api-resources', async () => {
      assert.match(await ok('version'), /v1\.31\.0\+lodestone-lab/)
      assert.match(await ok('get namespaces'), /^default +Active +\d+s$/m)
      assert.match(await ok('get all -A'), /service\/kubernetes +ClusterIP +10\.96\.0\.1 +<none> +443\/TCP/)
      const resources = await ok('api-resources')
      assert.match(resources, /^services +svc +.*true +Service$/m)
      assert.match(resources, /^leases +coordination.k8s.io\/v1 +true +Lease$/m)
    })

    it('create, get -o yaml, and an error that names the object', async () => {
      assert.equal(await ok('create namespace shop'), 'namespace/shop created\n')
      assert.equal(await ok('-n shop create configmap c --from-literal=a=b'), 'configmap/c created\n')
      assert.match(await ok('-n shop get configmap c -o yaml'), /^data:\n {2}a: b\n/m)
      assert.match(await fails('-n shop create configmap c'), /configmaps "c" already exists/)
      assert.match(await fails('-n nowhere create configmap c'), /namespaces "nowhere" not found/)
      assert.match(await fails('get service nothing'), /services "nothing" not found/)
      assert.match(await ok('create secret generic s --from-literal=a=b'), /secret\/s created/)
      assert.equal(await ok('get secret s -o jsonpath={.data.a}'), 'Yg==')
      await ok('create service clusterip plain --tcp=80:8080')
      assert.equal(await ok('get service plain -o jsonpath={.spec.ports[0].targetPort}'), '8080')
      await ok('create deployment plain --image=example.com/plain:1')
      assert.equal(
        await ok('get deployment plain -o jsonpath={.spec.template.spec.containers[0].name}'),
        'plain',
      )
      await ok('create serviceaccount robot')
    })

    it('apply: creates, says unchanged, merges keyed lists, removes what is left out', async () => {
      assert.equal(await ok('apply -f -', SERVICE('red')), 'service/web created\n')
      assert.equal(await ok('apply -f -', SERVICE('red')), 'service/web unchanged\n')
      const ports = await ok('get service web -o jsonpath={.spec.ports[*].nodePort}')
      assert.equal(await ok('apply -f -', SERVICE('blue')), 'service/web configured\n')
      assert.equal(await ok('get service web -o jsonpath={.spec.ports[*].nodePort}'), ports)
      assert.match(ports, /^3\d{4} 3\d{4}$/)
      assert.equal(await ok('apply -f -', DEPLOYMENT('example.com/web:1')), 'deployment.apps/web created\n')
      assert.equal(
        await ok('apply -f -', DEPLOYMENT('example.com/web:2')),
        'deployment.apps/web configured\n',
      )
      assert.equal(
        await ok(
          'get deployment web -o jsonpath={.spec.template.spec.containers[*].image},{.metadata.generation}',
        ),
        'example.com/web:2 example.com/other:1.0,2',
      )
      const without = DEPLOYMENT('example.com/web:2').replace(/ {8}env:\n.*\n/, '')
      assert.equal(await ok('apply -f -', without), 'deployment.apps/web configured\n')
      assert.equal(await ok('get deployment web -o jsonpath={.spec.template.spec.containers[0].env}'), '')
    })

    it('describe, and the events of an object', async () => {
      await ok(
        'create -f -',
        `
apiVersion: v1
kind: Event
metadata: { name: web.1, namespace: default }
involvedObject: { kind: Service, name: web, namespace: default, uid: ${await ok('get service web -o jsonpath={.metadata.uid}')} }
reason: IPAllocated
message: Assigned an address
type: Normal
source: { component: lodestone-controller }
firstTimestamp: "2026-01-01T00:00:00Z"
lastTimestamp: "2026-01-01T00:00:00Z"
count: 1
`,
      )
      const service = await ok('describe service web')
      assert.match(service, /^Type: +LoadBalancer$/m)
      assert.match(service, /^External Traffic Policy: +Local$/m)
      assert.match(service, /^HealthCheck NodePort: +3\d{4}$/m)
      assert.match(service, /Normal +IPAllocated .* Assigned an address/)
      assert.match(await ok('describe deployment web'), /^ +Image: +example.com\/web:2$/m)
      assert.match(await ok('get events'), /Normal +IPAllocated +service\/web +Assigned an address/)
      assert.match(await ok('describe namespace default'), /^Status: +Active$/m)
    })

    it('get -w shows the address when it arrives', async () => {
      const child: ChildProcess = spawn(binary, ['get', 'service', 'web', '-w'], {
        env: { ...process.env, ...env },
      })
      try {
        let seen = ''
        const sees = (pattern: RegExp): Promise<void> =>
          new Promise((done, fail) => {
            const check = (): void => {
              if (pattern.test(seen)) done()
            }
            child.stdout?.on('data', check)
            child.on('exit', () => fail(new Error(`kubectl get -w ended: ${seen}`)))
            check()
          })
        child.stdout?.on('data', (chunk: Buffer) => {
          seen += chunk.toString()
        })
        await sees(/^web +LoadBalancer +10\.96\.\d+\.\d+ +<pending> +80:3\d{4}\/TCP,53:3\d{4}\/UDP/m)
        await patchStatus('/api/v1/namespaces/default/services/web', {
          loadBalancer: { ingress: [{ ip: '192.0.2.80' }, { ip: '2001:db8::80' }] },
        })
        await sees(/^web +LoadBalancer +10\.96\.\d+\.\d+ +192\.0\.2\.80,2001:db8::80 /m)
        assert.equal(seen.match(/^NAME/gm)?.length, 1, 'the header is printed once')
      } finally {
        child.kill()
      }
    })

    it('patch in each of its types, label, annotate', async () => {
      await ok('patch service web -p {"spec":{"ports":[{"port":80,"targetPort":9090}]}}')
      assert.equal(await ok('get service web -o jsonpath={.spec.ports[*].targetPort}'), '9090 53')
      await ok('patch service web --type merge -p {"spec":{"sessionAffinity":"ClientIP"}}')
      assert.equal(
        await ok('get service web -o jsonpath={.spec.sessionAffinityConfig.clientIP.timeoutSeconds}'),
        '10800',
      )
      await ok(
        'patch service web --type json -p [{"op":"replace","path":"/spec/sessionAffinity","value":"None"}]',
      )
      assert.equal(await ok('get service web -o jsonpath={.spec.sessionAffinityConfig}'), '')
      assert.match(
        await fails('patch service web -p {"spec":{"clusterIP":"10.96.9.9"}}'),
        /may not change once set/,
      )
      assert.equal(await ok('label service web tier=front'), 'service/web labeled\n')
      assert.match(await ok('get services -l tier=front,color!=red'), /^web /m)
      assert.match(await ok('get services -l tier'), /^web /m)
      assert.equal(
        await ok('label service web tier-'),
        minor >= 22 ? 'service/web unlabeled\n' : 'service/web labeled\n',
      )
      // 1.27 says 'annotate'.
      assert.match(await ok('annotate service web example.com/note=hello'), /^service\/web annotated?$/m)
      assert.equal(await ok('get services --field-selector metadata.name=web -o name'), 'service/web\n')
    })

    it('apply --server-side: conflicts with another manager, and takes over when forced', async () => {
      const claim = (replicas: number): string =>
        `apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\nspec: { replicas: ${replicas} }\n`
      await ok('apply --server-side --field-manager one --force-conflicts -f -', claim(3))
      const refused = await fails('apply --server-side --field-manager two -f -', claim(4))
      assert.match(refused, /Apply failed with 1 conflict: conflict with "one"/)
      assert.match(refused, /\.spec\.replicas/)
      await ok('apply --server-side --field-manager two --force-conflicts -f -', claim(4))
      assert.equal(await ok('get deployment web -o jsonpath={.spec.replicas}'), '4')
      assert.equal(
        await ok('get deployment web -o jsonpath={.spec.template.spec.containers[0].image}'),
        'example.com/web:2',
      )
    })

    it('scale, rollout status, wait', async () => {
      assert.equal(await ok('scale deployment web --replicas=3'), 'deployment.apps/web scaled\n')
      const generation = Number(await ok('get deployment web -o jsonpath={.metadata.generation}'))
      await patchStatus('/apis/apps/v1/namespaces/default/deployments/web', {
        observedGeneration: generation,
        replicas: 3,
        updatedReplicas: 3,
        readyReplicas: 3,
        availableReplicas: 3,
        conditions: [{ type: 'Available', status: 'True' }],
      })
      assert.match(await ok('rollout status deployment web --timeout=20s'), /successfully rolled out/)
      assert.match(await ok('wait deployment web --for=condition=Available --timeout=20s'), /condition met/)
      assert.match(await ok('get deployment web'), /^web +3\/3 +3 +3 +\d+s$/m)
    })

    it('replace, edit, dry run', async () => {
      const yaml = await ok('get service web -o yaml')
      assert.equal(
        await ok('replace -f -', yaml.replace('example.com/note: hello', 'example.com/note: bye')),
        'service/web replaced\n',
      )
      assert.match(
        await fails('replace -f -', yaml.replace('hello', 'stale')),
        /the object has been modified/,
      )
      const edited = await run(binary, ['edit', 'service', 'web'], {
        env: { ...env, KUBE_EDITOR: 'sed -i s/bye/edited/' },
      })
      assert.equal(edited.code, 0, edited.stderr)
      assert.equal(edited.stdout, 'service/web edited\n')
      assert.match(await ok('get service web -o yaml'), /example\.com\/note: edited/)
      assert.match(await ok('apply --dry-run=server -f -', SERVICE('green')), /server dry run/)
      assert.equal(await ok('get service web -o jsonpath={.metadata.labels.color}'), 'blue')
    })

    it('custom resources: served at once, checked, printed, explained', async () => {
      await ok('apply -f -', CRD)
      await ok('wait --for=condition=Established crd/widgets.example.com --timeout=20s')
      assert.equal(await ok('apply -f -', WIDGET(3)), 'widget.example.com/w1 created\n')
      assert.match(await ok('get wd'), /^NAME +SIZE\nw1 +3$/m)
      assert.equal(await ok('get wd w1 -o jsonpath={.spec.color}'), 'red')
      assert.match(await fails('apply -f -', WIDGET(11)), /spec\.size: Invalid value: 11/)
      if (minor >= 27) {
        assert.match(await fails('apply -f -', WIDGET(4, ', bogus: 1')), /unknown field "spec.bogus"/)
        assert.match(await ok('explain widget.spec.size'), /How big it is\./)
        assert.match(await ok('explain service.spec.externalTrafficPolicy'), /keeps traffic from outside/)
      }
      assert.match(await ok('describe widget w1'), /^ +Size: +3$/m)
      await ok('delete crd widgets.example.com')
      assert.notEqual((await kubectl('get widgets')).code, 0)
    })

    it('delete: by name, by selector, and a namespace with all that is in it', async () => {
      assert.match(await ok('delete service web'), /service "web" deleted/)
      assert.match(await fails('get service web'), /not found/)
      await ok('create configmap x')
      await ok('label configmap x a=b')
      assert.match(await ok('delete configmap -l a=b'), /configmap "x" deleted/)
      await ok('delete deployment web')
      assert.match(await ok('delete namespace shop'), /namespace "shop" deleted/)
      assert.match(await fails('get namespace shop'), /not found/)
      assert.match(await fails('-n shop get configmap c'), /not found/)
    })
  })
}
