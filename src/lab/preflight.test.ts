import assert from 'node:assert/strict'
import { test } from 'node:test'
import { preflight, searchPath, whatToAllow } from './preflight.ts'

for (const [sysctls, advice] of [
  [{ 'kernel/unprivileged_userns_clone': '0' }, /kernel\.unprivileged_userns_clone=1/],
  [{ 'kernel/apparmor_restrict_unprivileged_userns': '1' }, /apparmor_restrict_unprivileged_userns=0/],
  [{ 'user/max_user_namespaces': '0' }, /user\.max_user_namespaces=10000/],
  [{ 'user/max_user_namespaces': '9999' }, /run as root/],
] as [Record<string, string>, RegExp][]) {
  test(`an ordinary user with ${JSON.stringify(sysctls)} is told what to allow`, () => {
    assert.match(
      whatToAllow(false, name => sysctls[name]),
      advice,
    )
  })
}

test('root in a container is told of the capability', () => {
  assert.match(
    whatToAllow(true, () => undefined),
    /CAP_SYS_ADMIN.*--privileged/,
  )
})

test('a missing program is named with its Debian package', async () => {
  await assert.rejects(preflight(['sh', 'no-such-program']), {
    code: 'missing-program',
    message: 'a lab needs no-such-program: install with `apt-get install no-such-program`',
  })
})

test('the search path has the folders of administrators once', () => {
  assert.equal(
    searchPath('/usr/bin:/bin:/opt/x:/usr/sbin'),
    '/usr/bin:/bin:/opt/x:/usr/sbin:/usr/local/sbin:/sbin',
  )
})
