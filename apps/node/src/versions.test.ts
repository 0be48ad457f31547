import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compareVersions, isOldKernel, isOldNode, isOldWireguardGo, numbersIn } from './versions.ts'

test('versions are compared number by number', () => {
  assert.ok(compareVersions([6, 1, 84], [6, 1, 9]) > 0)
  assert.equal(compareVersions([6, 1], [6, 1, 0]), 0)
  assert.deepEqual(numbersIn('wireguard-go v0.0.20220316'), [0, 0, 20220316])
})

test('a kernel without the fix of CVE-2024-26951 is old, in each line that got it', () => {
  for (const release of ['5.10.0-28-amd64', '6.1.83', '6.6.23', '6.8.2', '6.5.0-1020-aws', '4.19.0'])
    assert.equal(isOldKernel(release, '#1 SMP'), true, release)
  for (const release of ['5.10.215', '6.1.84', '6.6.24', '6.8.3', '6.9.0', '6.18.44'])
    assert.equal(isOldKernel(release, '#1 SMP'), false, release)
})

test("Debian's own release number stands beside the one that counts", () => {
  assert.equal(isOldKernel('6.1.0-21-amd64', '#1 SMP PREEMPT_DYNAMIC Debian 6.1.90-1 (2024-05-03)'), false)
  assert.equal(isOldKernel('6.1.0-18-amd64', '#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)'), true)
})

test('a wireguard-go up to the last open release is old; an unknown one is not called so', () => {
  assert.equal(isOldWireguardGo('wireguard-go v0.0.20220316\n\nUserspace'), true)
  assert.equal(isOldWireguardGo('wireguard-go v0.0.20250522'), true)
  assert.equal(isOldWireguardGo('wireguard-go v0.0.20260901'), false)
  assert.equal(isOldWireguardGo('wireguard-go (devel)'), false)
})

test('Node below the security release of November 2026 is named', () => {
  assert.equal(isOldNode('v24.21.0'), true)
  assert.equal(isOldNode('v24.22.3'), false)
  assert.equal(isOldNode('v26.0.0'), false)
})
