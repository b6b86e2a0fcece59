import { clone, equal, isRecord, type JsonObject, setField } from './objects.ts'
import { ApiError, badRequest } from './status.ts'

/** RFC 7386. Parts of `target` that the patch does not touch are shared with the result. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch
  const out: JsonObject = isRecord(target) ? { ...target } : {}
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete out[field]
    else setField(out, field, mergePatch(Object.hasOwn(out, field) ? out[field] : undefined, value))
  }
  return out
}

function pointer(path: unknown): string[] {
  if (typeof path !== 'string' || (path !== '' && !path.startsWith('/'))) {
    throw badRequest(`${JSON.stringify(path)} is not a JSON pointer`)
  }
  return path
    .split('/')
    .slice(1)
    .map(part => part.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function unprocessable(message: string): ApiError {
  return new ApiError(
    422,
    'Invalid',
    `the server rejected our request due to an error in our request: ${message}`,
  )
}

function index(part: string, length: number): number {
  const i = Number(part)
  if (!/^(0|[1-9]\d*)$/.test(part) || i > length) throw unprocessable(`array index ${part} out of bounds`)
  return i
}

function child(here: unknown, part: string): unknown {
  if (Array.isArray(here)) return here[index(part, here.length - 1)]
  if (isRecord(here) && Object.hasOwn(here, part)) return here[part]
  throw unprocessable(`path part ${JSON.stringify(part)} does not exist`)
}

function read(document: unknown, path: readonly string[]): unknown {
  return path.reduce(child, document)
}

/** Writes in place and returns the document (another one when the path is the root). */
function write(
  document: unknown,
  path: readonly string[],
  change: (parent: unknown, last: string) => void,
): void {
  change(read(document, path.slice(0, -1)), path.at(-1) ?? '')
}

function add(document: unknown, path: readonly string[], value: unknown): unknown {
  if (path.length === 0) return value
  write(document, path, (parent, last) => {
    if (Array.isArray(parent)) {
      parent.splice(last === '-' ? parent.length : index(last, parent.length), 0, value)
    } else if (isRecord(parent)) parent[last] = value
    else throw unprocessable(`cannot add at ${last}`)
  })
  return document
}

function remove(document: unknown, path: readonly string[]): unknown {
  if (path.length === 0) return null
  write(document, path, (parent, last) => {
    child(parent, last)
    if (Array.isArray(parent)) parent.splice(Number(last), 1)
    else if (isRecord(parent)) delete parent[last]
  })
  return document
}

/**
 * RFC 6902, all operations or none. The document given is not changed.
 * @throws ApiError 400 for what is no patch, 422 when it does not fit the document
 */
export function jsonPatch(target: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw badRequest('a JSON patch is an array of operations')
  if (patch.length > 10_000) {
    throw new ApiError(413, 'RequestEntityTooLarge', 'the JSON patch has more than 10000 operations')
  }
  let document = clone(target)
  for (const operation of patch) {
    if (!isRecord(operation)) throw badRequest('a JSON patch operation is an object')
    const path = pointer(operation['path'])
    const value = operation['value']
    switch (operation['op']) {
      case 'add':
        document = add(document, path, clone(value))
        break
      case 'remove':
        document = remove(document, path)
        break
      case 'replace':
        read(document, path)
        if (path.length === 0) document = clone(value)
        else {
          write(document, path, (parent, last) => {
            if (Array.isArray(parent)) parent[Number(last)] = clone(value)
            else if (isRecord(parent)) parent[last] = clone(value)
          })
        }
        break
      case 'move': {
        const from = pointer(operation['from'])
        const moved = read(document, from)
        document = add(remove(document, from), path, moved)
        break
      }
      case 'copy':
        document = add(document, path, clone(read(document, pointer(operation['from']))))
        break
      case 'test':
        if (!equal(read(document, path), value))
          throw unprocessable(`testing path ${String(operation['path'])} failed`)
        break
      default:
        throw badRequest(`unknown JSON patch operation ${JSON.stringify(operation['op'])}`)
    }
  }
  return document
}
