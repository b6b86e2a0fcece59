import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LineCounter, parseAllDocuments } from 'yaml'
import type { KubeObject } from '../ports/kube.ts'

/** Input that cannot be used at all: unreadable, no YAML, or no Kubernetes object. The message names the file. */
export class ManifestError extends Error {
  readonly code: 'unreadable' | 'not-yaml' | 'not-an-object' | 'nothing-found' | 'unknown-kind'

  constructor(code: ManifestError['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ManifestError'
    this.code = code
  }
}

/**
 * Reads Kubernetes objects from files, directories (recursively: .yaml, .yml and .json, in the order of their names, hidden ones
 * left out) and, for `-`, from standard input. Several documents in a file and List objects are taken apart; the order is kept.
 * @throws ManifestError
 */
export async function readManifests(
  paths: readonly string[],
  stdin: AsyncIterable<Uint8Array | string> = process.stdin,
): Promise<KubeObject[]> {
  const objects: KubeObject[] = []
  for (const path of paths) {
    if (path === '-') objects.push(...parseManifests(await textOf(stdin), 'standard input'))
    else for (const file of await filesAt(path)) objects.push(...parseManifests(await readText(file), file))
  }
  if (objects.length === 0) {
    throw new ManifestError('nothing-found', `there is no Kubernetes object in ${paths.join(', ')}`)
  }
  return objects
}

/** The objects in a text of YAML or JSON; `source` is for messages. @throws ManifestError */
export function parseManifests(text: string, source: string): KubeObject[] {
  const lines = new LineCounter()
  // YAML 1.2, with the one thing of 1.1 that manifests use: merge keys. (1.1 would read the community 64496:10 as a number.)
  const documents = parseAllDocuments(text, { lineCounter: lines, merge: true })
  const objects: KubeObject[] = []
  for (const document of documents) {
    const [error] = document.errors
    const { line } = lines.linePos(error?.pos[0] ?? document.contents?.range?.[0] ?? 0)
    const where = `${source}:${line}`
    if (error !== undefined) {
      const sentence = error.message.split('\n')[0]?.replace(/ at line .*$/, '') ?? error.code
      throw new ManifestError('not-yaml', `${where}: ${sentence}`, { cause: error })
    }
    let value: unknown
    try {
      value = document.toJS()
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      throw new ManifestError('not-yaml', `${where}: ${why}`, { cause: error })
    }
    if (value !== null && value !== undefined) collect(value, where, objects)
  }
  return objects
}

type Json = Readonly<Record<string, unknown>>

/** An object, or the items of a list of any kind; items of a typed list may leave out what kind they are. */
function collect(value: unknown, where: string, into: KubeObject[]): void {
  if (!isRecord(value)) {
    throw new ManifestError('not-an-object', `${where}: this is no Kubernetes object`)
  }
  const { apiVersion, kind, items } = value
  if (typeof apiVersion !== 'string' || typeof kind !== 'string' || apiVersion === '' || kind === '') {
    throw new ManifestError(
      'not-an-object',
      `${where}: this is no Kubernetes object: apiVersion or kind is missing`,
    )
  }
  if (!kind.endsWith('List') || !Array.isArray(items)) {
    const metadata = isRecord(value['metadata']) ? value['metadata'] : {}
    const name = typeof metadata['name'] === 'string' ? metadata['name'] : ''
    into.push({ ...value, apiVersion, kind, metadata: { ...metadata, name } })
    return
  }
  const typed = kind === 'List' ? {} : { apiVersion, kind: kind.slice(0, -'List'.length) }
  for (const item of items as readonly unknown[]) {
    collect(isRecord(item) ? { ...typed, ...item } : item, where, into)
  }
}

async function filesAt(path: string): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path]
    return await filesIn(path)
  } catch (error) {
    throw unreadable(path, error)
  }
}

async function filesIn(folder: string): Promise<string[]> {
  const files: string[] = []
  for (const name of (await readdir(folder)).sort()) {
    // A mounted ConfigMap holds its files a second time in a hidden folder.
    if (name.startsWith('.')) continue
    const path = join(folder, name)
    if ((await stat(path)).isDirectory()) files.push(...(await filesIn(path)))
    else if (/\.(ya?ml|json)$/.test(name)) files.push(path)
  }
  return files
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw unreadable(file, error)
  }
}

function unreadable(path: string, error: unknown): ManifestError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
  const why = code === 'ENOENT' ? 'there is no such file' : code === 'EACCES' ? 'it may not be read' : code
  return new ManifestError('unreadable', `cannot read ${path}: ${why}`, { cause: error })
}

async function textOf(stream: AsyncIterable<Uint8Array | string>): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of stream) {
    text += typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}

function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
