import assert from 'node:assert/strict'

/** A built-in whose work grows with what it is called on. */
type Method = (this: unknown, ...args: unknown[]) => unknown

const ITERATORS = [new Map().values(), new Set().values(), [].values()]
const ARRAY_METHODS =
  'concat every filter find findIndex findLast flatMap forEach includes indexOf join lastIndexOf map reduce reverse slice some sort splice unshift'.split(
    ' ',
  )
const OBJECT_FUNCTIONS = ['entries', 'keys', 'values'] as const

/**
 * How many elements the code looked at while `run` ran: steps of Map, Set and Array iterators (also those inside of spread,
 * `new Map(map)`, destructuring), elements of arrays that array methods were called on, keys that were listed, characters that
 * `JSON.stringify` wrote. Says how work grows without a clock: on a busy machine, and at any speed, the number is the same.
 *
 * Loops over an index are not seen. `run` must wait for microtasks only, so that nothing else runs meanwhile.
 */
export async function countSteps(run: () => unknown): Promise<number> {
  let steps = 0
  const restore: (() => void)[] = []
  const replace = (target: object, name: PropertyKey, wrap: (original: Method) => Method) => {
    const descriptor = Object.getOwnPropertyDescriptor(target, name)
    assert.ok(descriptor !== undefined && typeof descriptor.value === 'function', String(name))
    restore.push(() => Object.defineProperty(target, name, descriptor))
    Object.defineProperty(target, name, { ...descriptor, value: wrap(descriptor.value as Method) })
  }
  for (const iterator of ITERATORS) {
    replace(
      Object.getPrototypeOf(iterator) as object,
      'next',
      original =>
        function () {
          steps++
          return original.call(this)
        },
    )
  }
  for (const kind of [Map, Set]) {
    replace(
      kind.prototype,
      'forEach',
      original =>
        function (...args) {
          steps += (this as Map<unknown, unknown>).size
          return original.apply(this, args)
        },
    )
  }
  for (const name of ARRAY_METHODS) {
    replace(
      Array.prototype,
      name,
      original =>
        function (...args) {
          steps += (this as unknown[]).length
          return original.apply(this, args)
        },
    )
  }
  for (const name of OBJECT_FUNCTIONS) {
    replace(
      Object,
      name,
      original =>
        function (...args) {
          const listed = original.apply(this, args) as unknown[]
          steps += listed.length
          return listed
        },
    )
  }
  replace(
    JSON,
    'stringify',
    original =>
      function (...args) {
        const text = original.apply(this, args) as string | undefined
        steps += text?.length ?? 0
        return text
      },
  )
  // Those were our own, above.
  steps = 0
  try {
    await run()
    return steps
  } finally {
    for (let i = restore.length - 1; i >= 0; i--) restore[i]?.()
  }
}
