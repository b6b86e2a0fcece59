import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { KubeObject } from '../ports/kube.ts'
import { serviceFromObject, servicesFromObjects } from './objects.ts'

const SERVICE: KubeObject = {
  metadata: { namespace: 'default', name: 'web' },
  spec: {
    type: 'LoadBalancer',
    clusterIP: '10.96.0.1',
    clusterIPs: ['10.96.0.1', 'fd00:96::1'],
    externalIPs: ['198.51.100.7'],
    externalTrafficPolicy: 'Local',
    sessionAffinity: 'ClientIP',
    loadBalancerSourceRanges: [' 192.0.2.0/24 ', 'nonsense'],
    ports: [
      { name: 'http', port: 80, nodePort: 30080, targetPort: 8080 },
      { name: 'dns', protocol: 'UDP', port: 53 },
      { name: 'odd', protocol: 'QUIC', port: 443 },
    ],
  },
  status: {
    loadBalancer: {
      ingress: [{ ip: '203.0.113.1' }, { ip: '203.0.113.2', ipMode: 'Proxy' }, { hostname: 'x' }],
    },
  },
}

function slice(name: string, more: Record<string, unknown> = {}): KubeObject {
  return {
    metadata: { namespace: 'default', name, labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    endpoints: [
      { addresses: ['10.244.1.5'], nodeName: 'n1' },
      {
        addresses: ['10.244.2.5'],
        nodeName: 'n2',
        conditions: { ready: false, serving: true, terminating: true },
      },
      { addresses: ['fd00::1', 'nonsense'] },
    ],
    ...more,
  }
}

test('a Service and its slices', () => {
  const other = { ...slice('other'), metadata: { ...slice('other').metadata, namespace: 'elsewhere' } }
  assert.deepEqual(servicesFromObjects([SERVICE], [slice('web-1'), slice('web-2'), other]), [
    {
      key: 'default/web',
      clusterIps: ['10.96.0.1', 'fd00:96::1'],
      externalIps: ['203.0.113.1'],
      extraIps: ['198.51.100.7'],
      ports: [
        {
          name: 'http',
          protocol: 'TCP',
          port: 80,
          nodePort: 30080,
          endpoints: [
            { ip: '10.244.1.5', port: 8080, node: 'n1', ready: true, serving: true, terminating: false },
            { ip: '10.244.2.5', port: 8080, node: 'n2', ready: false, serving: true, terminating: true },
          ],
        },
        { name: 'dns', protocol: 'UDP', port: 53, endpoints: [] },
      ],
      externalTrafficPolicy: 'Local',
      internalTrafficPolicy: 'Cluster',
      sessionAffinityTimeoutSeconds: 10_800,
      sourceRanges: ['192.0.2.0/24'],
    },
  ])
})

for (const [name, spec, labels] of [
  ['headless', { clusterIP: 'None', clusterIPs: ['None'] }, {}],
  ['ExternalName', { type: 'ExternalName', clusterIP: '10.96.0.1' }, {}],
  ['of another proxy', { clusterIP: '10.96.0.1' }, { 'service.kubernetes.io/service-proxy-name': 'other' }],
] as const) {
  test(`left out: ${name}`, () => {
    assert.equal(serviceFromObject({ metadata: { name: 'web', labels }, spec }, []), undefined)
  })
}

test('any object gives a service or nothing', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (value, ports, endpoints) => {
      const metadata = { namespace: 'default', name: 'web' }
      serviceFromObject({ metadata, spec: value }, [])
      serviceFromObject({ metadata, spec: { clusterIP: '10.96.0.1', ports }, status: value }, [
        slice('a', { ports, endpoints }),
        slice('b', { endpoints: [{ addresses: value, conditions: ports }] }),
      ])
    }),
  )
})
