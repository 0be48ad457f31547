import assert from 'node:assert/strict'
import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { initSecrets, loadSecrets, Secrets, throwawaySecrets } from './secrets.ts'
import { temporaryFolder } from './testing/index.ts'

test('a sealed value opens with its purpose and binding only', () => {
  const secrets = throwawaySecrets()
  const sealed = secrets.seal('psk', 'row 1', Buffer.from('hidden'))
  assert.equal(secrets.open('psk', 'row 1', sealed).toString(), 'hidden')
  assert.ok(!sealed.includes('hidden'))
  assert.throws(() => secrets.open('psk', 'row 2', sealed))
  assert.throws(() => secrets.open('totp', 'row 1', sealed))
  assert.throws(() => throwawaySecrets().open('psk', 'row 1', sealed))
})

test('a changed or cut sealed value does not open', () => {
  const secrets = throwawaySecrets()
  const sealed = secrets.seal('psk', 'row', Buffer.from('hidden'))
  for (let i = 0; i < sealed.length; i++) {
    const bent = Buffer.from(sealed)
    bent[i] = (bent[i] ?? 0) ^ 1
    assert.throws(() => secrets.open('psk', 'row', bent), `byte ${i}`)
    assert.throws(() => secrets.open('psk', 'row', sealed.subarray(0, i)))
  }
})

test('the same text is never sealed to the same bytes', () => {
  const secrets = throwawaySecrets()
  const seen = new Set(Array.from({ length: 100 }, () => secrets.seal('p', 'b', Buffer.from('x')).toString('hex')))
  assert.equal(seen.size, 100)
})

test('a salt is part of the key', () => {
  const secrets = throwawaySecrets()
  const sealed = secrets.seal('idempotency', 'b', Buffer.from('x'), Buffer.from('the key'))
  assert.equal(secrets.open('idempotency', 'b', sealed, Buffer.from('the key')).toString(), 'x')
  assert.throws(() => secrets.open('idempotency', 'b', sealed, Buffer.from('another key')))
  assert.throws(() => secrets.open('idempotency', 'b', sealed))
})

test('an older key still opens what it sealed after a new one was put before it', async (t) => {
  const path = join(await temporaryFolder(t), 'secrets.json')
  await initSecrets(path)
  const before = await loadSecrets(path)
  const sealed = before.seal('psk', 'b', Buffer.from('x'))
  const file = JSON.parse(await readFile(path, 'utf8')) as { seal: { id: string; key: string }[] }
  file.seal.unshift({ id: 'newer', key: Buffer.alloc(32, 7).toString('base64') })
  await writeFile(path, JSON.stringify(file))
  const after = await loadSecrets(path)
  assert.equal(after.open('psk', 'b', sealed).toString(), 'x')
  assert.equal(after.fingerprint, before.fingerprint)
  assert.throws(() => before.open('psk', 'b', after.seal('psk', 'b', Buffer.from('y'))))
})

test('a tag of an older key still proves itself, one of a lost key says so, a changed one does not', async (t) => {
  const path = join(await temporaryFolder(t), 'secrets.json')
  await initSecrets(path)
  const before = await loadSecrets(path)
  const text = Buffer.from('x')
  const tag = before.tag('cookie', text)
  const file = JSON.parse(await readFile(path, 'utf8')) as { mac: { id: string; key: string }[] }
  file.mac.unshift({ id: 'newer', key: Buffer.alloc(32, 7).toString('base64') })
  await writeFile(path, JSON.stringify(file))
  const after = await loadSecrets(path)
  assert.equal(after.checkTag('cookie', text, tag), true)
  assert.equal(after.tag('cookie', text).keyId, 'newer')
  assert.equal(before.checkTag('cookie', text, after.tag('cookie', text)), undefined)
  assert.equal(after.checkTag('cookie', Buffer.from('y'), tag), false)
  assert.equal(after.checkTag('other', text, tag), false)
  assert.equal(after.checkTag('cookie', text, { ...tag, mac: tag.mac.subarray(1) }), false)
})

test('the file is made once, for its owner only, also by twenty at the same time', async (t) => {
  const path = join(await temporaryFolder(t), 'deep', 'secrets.json')
  const outcomes = await Promise.all(Array.from({ length: 20 }, () => initSecrets(path)))
  assert.equal(outcomes.filter((o) => o === 'made').length, 1)
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  const print = (await loadSecrets(path)).fingerprint
  assert.equal(await initSecrets(path), 'present')
  assert.equal((await loadSecrets(path)).fingerprint, print)
})

test('a file that others can read, that is broken or missing is refused with a reason', async (t) => {
  const path = join(await temporaryFolder(t), 'secrets.json')
  await assert.rejects(loadSecrets(path), /prime keys init/)
  await initSecrets(path)
  await chmod(path, 0o644)
  await assert.rejects(loadSecrets(path), /chmod 600/)
  await chmod(path, 0o600)
  await writeFile(path, '{"seal":[]}')
  await assert.rejects(loadSecrets(path), /not a secrets file/)
  await writeFile(path, '{')
  await assert.rejects(loadSecrets(path), /not valid JSON/)
})

test('two installations share no secret', () => {
  const [a, b] = [throwawaySecrets(), throwawaySecrets()]
  assert.ok(a instanceof Secrets)
  assert.notEqual(a.fingerprint, b.fingerprint)
  assert.notDeepEqual(a.mac('x', 'y'), b.mac('x', 'y'))
  assert.notDeepEqual(a.derive('x'), b.derive('x'))
})
