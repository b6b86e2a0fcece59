import type { Meta } from './objects.ts'
import type { ResourceType } from './resource-type.ts'
import { type Cause, invalidValue, required } from './status.ts'

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/
const LABEL_1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const QUALIFIED = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/

const SUBDOMAIN_RULE =
  'a lowercase RFC 1123 subdomain is needed: lower case letters, digits, "-" and ".", beginning and ending with a letter or digit'
const LABEL_RULE =
  'a lowercase RFC 1123 label is needed: lower case letters, digits and "-", beginning and ending with a letter or digit'
const LABEL_1035_RULE =
  'a DNS-1035 label is needed: lower case letters, digits and "-", beginning with a letter and ending with a letter or digit'

/** RFC 1123 label of at most 63 characters. */
export function isDnsLabel(name: string): boolean {
  return name.length <= 63 && LABEL.test(name)
}

function nameProblem(name: string, type: ResourceType): string | undefined {
  if (type.nameRule === 'dns-label') return isDnsLabel(name) ? undefined : LABEL_RULE
  if (type.nameRule === 'dns-1035') {
    return name.length <= 63 && LABEL_1035.test(name) ? undefined : LABEL_1035_RULE
  }
  return name.length <= 253 && SUBDOMAIN.test(name) ? undefined : SUBDOMAIN_RULE
}

/** `example.com/name` or `name`: the key of a label or annotation. */
function isQualifiedName(key: string): boolean {
  const slash = key.indexOf('/')
  const name = key.slice(slash + 1)
  if (slash >= 0 && !(slash <= 253 && SUBDOMAIN.test(key.slice(0, slash)))) return false
  return name.length <= 63 && QUALIFIED.test(name)
}

const ANNOTATIONS_BYTES_MAX = 256 * 1024

/** The rules that hold for every kind. */
export function validateMetadata(meta: Meta, type: ResourceType): Cause[] {
  const causes: Cause[] = []
  if (meta.name === undefined || meta.name === '') {
    causes.push(required('metadata.name', 'name or generateName is required'))
  } else {
    const problem = nameProblem(meta.name, type)
    if (problem !== undefined) causes.push(invalidValue('metadata.name', meta.name, problem))
  }
  for (const [key, value] of Object.entries(meta.labels ?? {})) {
    if (!isQualifiedName(key)) causes.push(invalidValue('metadata.labels', key, 'not a qualified name'))
    if (value !== '' && !(value.length <= 63 && QUALIFIED.test(value))) {
      causes.push(invalidValue('metadata.labels', value, 'not a valid label value'))
    }
  }
  let size = 0
  for (const [key, value] of Object.entries(meta.annotations ?? {})) {
    if (!isQualifiedName(key.toLowerCase())) {
      causes.push(invalidValue('metadata.annotations', key, 'not a qualified name'))
    }
    size += key.length + value.length
  }
  if (size > ANNOTATIONS_BYTES_MAX) {
    causes.push({
      reason: 'FieldValueTooLong',
      message: `Too long: may not be more than ${ANNOTATIONS_BYTES_MAX} bytes`,
      field: 'metadata.annotations',
    })
  }
  for (const finalizer of meta.finalizers ?? []) {
    if (!isQualifiedName(finalizer)) {
      causes.push(invalidValue('metadata.finalizers', finalizer, 'not a qualified name'))
    }
  }
  if ((meta.ownerReferences ?? []).filter(reference => reference.controller === true).length > 1) {
    causes.push(
      invalidValue(
        'metadata.ownerReferences',
        'controller',
        'only one reference can have controller set to true',
      ),
    )
  }
  return causes
}
