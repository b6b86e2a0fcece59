// A node:test reporter that writes one word per finished test: passed, failed or skipped.
export default async function* counts(source) {
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue
    if (data.details?.type === 'suite') continue
    if (type === 'test:fail') yield 'failed\n'
    else yield data.skip !== undefined && data.skip !== false ? 'skipped\n' : 'passed\n'
  }
}
