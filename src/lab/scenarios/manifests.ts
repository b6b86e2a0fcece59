import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import type { Kube, KubeObject, Resource } from '../../ports/kube.ts'
import { RESOURCES } from '../../ports/kube.ts'
import { LabError } from '../error.ts'
import { APPS } from '../workload/resources.ts'

/** A manifest with the collection that it belongs to. */
export type Manifest = { readonly resource: Resource; readonly object: KubeObject }

const KNOWN: readonly Resource[] = [...Object.values(RESOURCES), ...Object.values(APPS)]

/**
 * The objects of a YAML text, in its order.
 * @throws LabError 'bad-argument' when it is not YAML, or holds a kind that no scenario knows
 */
export function parseManifests(file: string, text: string): Manifest[] {
  return parseAllDocuments(text).flatMap(document => {
    const [error] = document.errors
    if (error !== undefined) throw new LabError('bad-argument', `${file}: ${error.message}`)
    const object = document.toJS() as KubeObject | null
    if (object === null) return []
    const { apiVersion = '', kind = '' } = object
    const resource = KNOWN.find(
      ({ group, version, ...known }) =>
        known.kind === kind && apiVersion === (group === '' ? version : `${group}/${version}`),
    )
    if (resource === undefined) {
      throw new LabError('bad-argument', `${file}: ${kind} of ${apiVersion} is not known here`)
    }
    return [{ resource, object }]
  })
}

/** All manifests of a folder, file by file in the order of their names. */
export function readManifests(folder: string): Manifest[] {
  return readdirSync(folder)
    .filter(name => name.endsWith('.yaml'))
    .sort()
    .flatMap(name => parseManifests(name, readFileSync(join(folder, name), 'utf8')))
}

/** Server-side apply of one after the other: a second time changes nothing. */
export async function applyManifests(
  kube: Kube,
  manifests: readonly Manifest[],
  fieldManager: string,
): Promise<void> {
  for (const { resource, object } of manifests) {
    const { name, namespace = resource.namespaced ? 'default' : '' } = object.metadata
    await kube.patch(resource, { namespace, name }, object, { type: 'apply', fieldManager })
  }
}
