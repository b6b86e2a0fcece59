import { Command, Option } from 'commander'
import type { ObjectRef, Problem, ProblemCode } from '../config/model.ts'
import { namespaceFromObject, nodeFromObject } from '../config/nodes.ts'
import { type ConfigResources, parseConfig } from '../config/parse.ts'
import { secretFromObject } from '../config/secrets.ts'
import type { KubeObject } from '../ports/kube.ts'
import { type CrdSchemas, crdSchemas, schemaProblems } from './crd-schemas.ts'
import { ManifestError, readManifests } from './manifests.ts'

export type ValidateOptions = {
  readonly file: readonly string[]
  readonly output: 'text' | 'json'
  /** Where the metallb.io resources are; absent: where those in the input are. */
  readonly namespace?: string
}

/** What `lodestone validate` says, and its exit status: 0 valid, 1 invalid, 2 for input that cannot be used. */
export type Verdict = { readonly exitCode: 0 | 1 | 2; readonly out: string; readonly err: string }

/** `lodestone validate`: what a cluster would say to manifests, before it gets them. */
export function validateCommand(): Command {
  return new Command('validate')
    .description('check manifests of metallb.io: exit status 0 valid, 1 invalid, 2 unusable input')
    .addOption(
      new Option('-f, --file <path>', 'a file, a folder or - for standard input; repeat for more')
        .argParser((path: string, before: readonly string[] | undefined) => [...(before ?? []), path])
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('-o, --output <format>', 'how to print it').choices(['text', 'json']).default('text'),
    )
    .addOption(
      new Option(
        '--namespace <namespace>',
        'where the metallb.io resources are going to be (default: where those in the input are)',
      ).env('METALLB_NAMESPACE'),
    )
    .action(async (options: ValidateOptions) => {
      const { exitCode, out, err } = await validateFiles(options)
      process.stdout.write(out)
      process.stderr.write(err)
      process.exitCode = exitCode
    })
}

export async function validateFiles(
  options: ValidateOptions,
  stdin?: AsyncIterable<Uint8Array | string>,
): Promise<Verdict> {
  let problems: readonly Problem[]
  try {
    problems = validateObjects(await readManifests(options.file, stdin), options)
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error
    return { exitCode: 2, out: '', err: `lodestone: ${error.message}\n` }
  }
  const valid = problems.every(({ severity }) => severity === 'warning')
  const out = options.output === 'json' ? asJson(valid, problems) : asText(valid, problems)
  return { exitCode: valid ? 0 : 1, out, err: '' }
}

/**
 * Every problem, errors first. Nodes, Namespaces and Secrets among the objects are taken for the cluster's.
 * @throws ManifestError for a kind or version of metallb.io that there is none of
 */
export function validateObjects(
  objects: readonly KubeObject[],
  options: { readonly namespace?: string; readonly schemas?: CrdSchemas } = {},
): Problem[] {
  const schemas = options.schemas ?? crdSchemas()
  const ours = objects.filter(isMetallb)
  for (const object of ours) refuseUnknown(object, schemas)
  const parsed = parseConfig(resourcesOf(objects))
  const problems = [...('config' in parsed ? parsed.warnings : parsed.problems)]
  for (const object of ours) problems.push(...apiServerProblems(object, schemas, problems))
  problems.push(...elsewhere(ours, options.namespace), ...objects.flatMap(bgpExtras))
  const order = { error: 0, transient: 1, warning: 2 }
  return problems.sort((a, b) => order[a.severity] - order[b.severity])
}

function isMetallb({ apiVersion }: KubeObject): boolean {
  return apiVersion?.startsWith('metallb.io/') === true
}

function refuseUnknown(object: KubeObject, schemas: CrdSchemas): void {
  const { apiVersion = '', kind = '' } = object
  if (schemas.has(`${apiVersion}/${kind}`)) return
  const versions = [...schemas.keys()]
    .map(key => key.split('/'))
    .filter(([, , known]) => known === kind)
    .map(([group, version]) => `${group}/${version}`)
  const why =
    versions.length === 0
      ? `metallb.io has no kind ${kind}`
      : `${kind} has no version ${apiVersion}; use ${versions.join(' or ')}`
  throw new ManifestError('unknown-kind', `${object.metadata.name || 'an object without a name'}: ${why}`)
}

function resourcesOf(objects: readonly KubeObject[]): ConfigResources {
  const of = (kind: string) => objects.filter(object => object.kind === kind && isMetallb(object))
  const core = (kind: string) => objects.filter(object => object.kind === kind && object.apiVersion === 'v1')
  return {
    pools: of('IPAddressPool'),
    l2Advertisements: of('L2Advertisement'),
    bgpAdvertisements: of('BGPAdvertisement'),
    bgpPeers: of('BGPPeer'),
    bfdProfiles: of('BFDProfile'),
    communities: of('Community'),
    secrets: core('Secret').map(secretFromObject),
    nodes: core('Node').map(nodeFromObject),
    namespaces: core('Namespace').map(namespaceFromObject),
  }
}

const SCHEMA_CODES: Readonly<Record<string, ProblemCode>> = {
  FieldValueTypeInvalid: 'field-type',
  FieldValueNotSupported: 'field-type',
  FieldValueRequired: 'field-missing',
}

/** What the schema refuses in a field that nothing worse was said about. */
function apiServerProblems(object: KubeObject, schemas: CrdSchemas, found: readonly Problem[]): Problem[] {
  const ref = refOf(object)
  const known = found.filter(({ object: other, severity }) => severity !== 'warning' && sameRef(ref, other))
  return schemaProblems(object, schemas)
    .filter(({ field }) => !known.some(problem => problem.field === field))
    .map(({ field, reason, message }) => ({
      code: SCHEMA_CODES[reason] ?? 'field-range',
      severity: 'error',
      object: ref,
      field,
      message: `the API server refuses ${field}: ${message}`,
    }))
}

/** Objects in other namespaces than the one where the resources of metallb.io are, which nobody reads. */
function elsewhere(ours: readonly KubeObject[], namespace: string | undefined): Problem[] {
  const named = new Set(ours.map(({ metadata }) => metadata.namespace ?? '').filter(name => name !== ''))
  const expected = namespace ?? (named.size > 1 ? 'metallb-system' : [...named][0])
  return ours
    .map(refOf)
    .filter(ref => ref.namespace !== '' && ref.namespace !== expected)
    .map(object => ({
      code: 'namespace-other',
      severity: 'warning',
      object,
      field: 'metadata.namespace',
      message: `only objects in the namespace ${expected} are read, and this one is in ${object.namespace}`,
    }))
}

/** V-42: text for FRR's own configuration, and there is no FRR. */
function bgpExtras({ apiVersion, kind, metadata }: KubeObject): Problem[] {
  if (apiVersion !== 'v1' || kind !== 'ConfigMap' || metadata.name !== 'bgpextras') return []
  return [
    {
      code: 'field-ignored',
      severity: 'warning',
      object: { kind, namespace: metadata.namespace ?? '', name: metadata.name },
      field: 'data.extras',
      message:
        'the ConfigMap bgpextras is configuration for FRR and has no effect: sessions do not run in FRR',
    },
  ]
}

function refOf({ kind = '', metadata }: KubeObject): ObjectRef {
  return { kind, namespace: metadata.namespace ?? '', name: metadata.name }
}

function sameRef(a: ObjectRef, b: ObjectRef): boolean {
  return a.kind === b.kind && a.namespace === b.namespace && a.name === b.name
}

function asJson(valid: boolean, problems: readonly Problem[]): string {
  const listed = problems.map(({ code, severity, object: { kind, namespace, name }, message }) => ({
    code,
    severity,
    object: { kind, namespace, name },
    message,
  }))
  return `${JSON.stringify({ valid, problems: listed }, undefined, 2)}\n`
}

/** A heading for each object, its problems below. */
function asText(valid: boolean, problems: readonly Problem[]): string {
  const byObject = new Map<string, Problem[]>()
  for (const problem of problems) {
    const { kind, namespace, name } = problem.object
    const title = `${kind} ${namespace === '' ? '' : `${namespace}/`}${name || '(without a name)'}`
    byObject.set(title, [...(byObject.get(title) ?? []), problem])
  }
  const sections = [...byObject].map(([title, found]) =>
    [
      title,
      ...found.map(
        ({ severity, code, field, message }) =>
          `  ${severity}: ${field}: ${sentence(field, message)} (${code})`,
      ),
    ].join('\n'),
  )
  return `${[...sections, `${valid ? 'valid' : 'not valid'}: ${counted(problems)}`].join('\n\n')}\n`
}

/** The message without the field, which stands before it already. */
function sentence(field: string, message: string): string {
  if (message.startsWith(`${field}: `)) return message.slice(field.length + 2)
  return message.startsWith(`${field} `) ? message.slice(field.length + 1) : message
}

function counted(problems: readonly Problem[]): string {
  const parts = [
    ['error', 'error', 'errors'],
    ['transient', 'thing that may still come', 'things that may still come'],
    ['warning', 'warning', 'warnings'],
  ] as const
  const texts = parts.flatMap(([severity, one, many]) => {
    const count = problems.filter(problem => problem.severity === severity).length
    return count === 0 ? [] : [`${count} ${count === 1 ? one : many}`]
  })
  return texts.length === 0 ? 'no problems' : texts.join(', ')
}
