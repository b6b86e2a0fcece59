import { list } from '../objects.ts'
import type { ResourceType } from '../resource-type.ts'
import {
  AGE,
  anything,
  atomic,
  builtIn,
  int32,
  keyed,
  kindSchema,
  NAME,
  object,
  oneOf,
  SELECTOR,
  string,
} from './build.ts'

const RULE = object({
  operations: atomic(oneOf(['*', 'CREATE', 'UPDATE', 'DELETE', 'CONNECT'])),
  apiGroups: atomic(string()),
  apiVersions: atomic(string()),
  resources: atomic(string()),
  scope: oneOf(['*', 'Cluster', 'Namespaced'], { default: '*' }),
})

export const VALIDATING_WEBHOOK_CONFIGURATION: ResourceType = builtIn({
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  plural: 'validatingwebhookconfigurations',
  kind: 'ValidatingWebhookConfiguration',
  namespaced: false,
  categories: ['api-extensions'],
  hasGeneration: true,
  schema: kindSchema('Who is asked before an object is written.', {
    webhooks: keyed(
      object(
        {
          name: string(),
          clientConfig: object({
            url: string(),
            service: object(
              {
                namespace: string(),
                name: string(),
                path: string(),
                port: int32({ default: 443, minimum: 1, maximum: 65535 }),
              },
              { required: ['namespace', 'name'] },
            ),
            caBundle: string({ format: 'byte' }),
          }),
          rules: atomic(RULE),
          failurePolicy: oneOf(['Fail', 'Ignore'], { default: 'Fail' }),
          matchPolicy: oneOf(['Exact', 'Equivalent'], { default: 'Equivalent' }),
          namespaceSelector: SELECTOR,
          objectSelector: SELECTOR,
          sideEffects: oneOf(['None', 'NoneOnDryRun']),
          timeoutSeconds: int32({ default: 10, minimum: 1, maximum: 30 }),
          admissionReviewVersions: atomic(string(), { minItems: 1 }),
          matchConditions: atomic(anything(), { maxItems: 0 }),
        },
        { required: ['name', 'clientConfig', 'sideEffects', 'admissionReviewVersions'] },
      ),
      ['name'],
    ),
  }),
  columns: [
    NAME,
    { name: 'Webhooks', type: 'integer', value: configuration => list(configuration['webhooks']).length },
    AGE,
  ],
})
