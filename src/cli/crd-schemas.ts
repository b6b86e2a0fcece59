import { readdirSync, readFileSync } from 'node:fs'
import { type Schema, validate } from '../lab/apiserver/schema.ts'
import type { KubeObject } from '../ports/kube.ts'
import { parseManifests } from './manifests.ts'

/** Schemas of the metallb.io kinds, by `apiVersion/kind`, out of deploy/crds. */
export type CrdSchemas = ReadonlyMap<string, Schema>

export type SchemaProblem = { readonly field: string; readonly reason: string; readonly message: string }

type Version = { readonly name: string; readonly schema: { readonly openAPIV3Schema: Schema } }
type Spec = {
  readonly group: string
  readonly names: { readonly kind: string }
  readonly versions: readonly Version[]
}

export function readCrds(): KubeObject[] {
  const folder = new URL('../../../deploy/crds/', import.meta.url)
  return readdirSync(folder)
    .filter(name => name.endsWith('.yaml'))
    .sort()
    .flatMap(name => parseManifests(readFileSync(new URL(name, folder), 'utf8'), name))
}

let own: CrdSchemas | undefined

/** Without `definitions`, those of deploy/crds, read once. */
export function crdSchemas(definitions?: readonly KubeObject[]): CrdSchemas {
  if (definitions === undefined) return (own ??= crdSchemas(readCrds()))
  return new Map(
    definitions.flatMap(definition => {
      const { group, names, versions } = definition['spec'] as Spec
      return versions.map(version => [
        `${group}/${version.name}/${names.kind}`,
        version.schema.openAPIV3Schema,
      ])
    }),
  )
}

/** What the API server would refuse about one object because of its schema; CEL rules are not run. */
export function schemaProblems(object: KubeObject, schemas: CrdSchemas): SchemaProblem[] {
  const schema = schemas.get(`${object.apiVersion ?? ''}/${object.kind ?? ''}`)
  if (schema === undefined) return []
  const { metadata: _metadata, status: _status, ...checked } = object
  return validate(withoutNulls(checked), schema, '').map(({ field, reason, message }) => ({
    field,
    reason,
    message,
  }))
}

/** kubectl leaves out what is null before it sends an object. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (typeof value !== 'object' || value === null) return value
  const kept = Object.entries(value).filter(([, item]) => item !== null && item !== undefined)
  return Object.fromEntries(kept.map(([name, item]) => [name, withoutNulls(item)]))
}
