import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createNft } from './nft.ts'

test('a missing program is named, with the Debian package', async () => {
  const nft = createNft({ program: 'nft-that-is-not-there' })
  await assert.rejects(nft.apply('add table inet x'), {
    name: 'NftError',
    code: 'not-installed',
    message: 'the program nft is missing: install it, on Debian the package nftables',
  })
  await assert.rejects(nft.listTable('inet', 'x'), { code: 'not-installed' })
})

test('what the program says is in the error', async () => {
  // `cp -f -` complains of a missing operand and does not read its input.
  const nft = createNft({ program: 'cp' })
  await assert.rejects(nft.apply('x'.repeat(1_000_000)), { code: 'refused', message: /missing/ })
})
