import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { JournalEntry } from '@prime-vpn/node-protocol'
import { openDataDir, readIfThere, writeWhole } from './data-dir.ts'
import { CannotRun } from './failures.ts'
import { digestOf, loadIdentity, newIdentity, publicKeys, saveIdentity } from './identity.ts'
import { openJournal, lastConfig, leavingAddresses } from './journal-file.ts'
import { lockHolder, takeLock } from './lock.ts'

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'prime-node-test-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}
const IDENTITY = {
  control_url: 'https://vpn.example',
  interface: 'wg0',
  backend: 'auto',
  token_digest: digestOf('t'),
} as const

test('a data directory is made for its owner alone, and an open one is closed without its parents', async (t) => {
  const dir = folder(t)
  chmodSync(dir, 0o755)
  const made = await openDataDir(join(dir, 'a', 'b'))
  assert.equal(statSync(made).mode & 0o777, 0o700)
  mkdirSync(join(dir, 'open'))
  chmodSync(join(dir, 'open'), 0o777)
  await openDataDir(join(dir, 'open'))
  assert.equal(statSync(join(dir, 'open')).mode & 0o777, 0o700)
  assert.equal(statSync(dir).mode & 0o777, 0o755)
})

test('a directory that cannot be made is refused and never waited for', async (t) => {
  const file = join(folder(t), 'file')
  writeFileSync(file, '')
  await assert.rejects(openDataDir('/proc/none/there'), CannotRun)
  await assert.rejects(openDataDir(join(file, 'x')), CannotRun)
})

test('a file is replaced as a whole, closed to others, and leaves no draft', async (t) => {
  const dir = folder(t)
  await writeWhole(join(dir, 'x'), 'one')
  await writeWhole(join(dir, 'x'), 'two')
  assert.equal(readFileSync(join(dir, 'x'), 'utf8'), 'two')
  assert.equal(statSync(join(dir, 'x')).mode & 0o777, 0o600)
  assert.deepEqual(readdirSync(dir), ['x'])
  assert.equal(await readIfThere(dir, 'none'), null)
})

test('an identity comes back as it was, and its public halves are not its private ones', async (t) => {
  const dir = folder(t)
  assert.equal(await loadIdentity(dir), null)
  const identity = newIdentity(IDENTITY)
  await saveIdentity(dir, identity)
  assert.deepEqual(await loadIdentity(dir), identity)
  const keys = publicKeys(identity)
  assert.equal(Buffer.from(keys.identity, 'base64').length, 32)
  assert.notEqual(keys.wireguard, identity.wireguard_key)
  assert.notDeepEqual(newIdentity(IDENTITY), identity)
})

test('a damaged identity stops the agent instead of being replaced', async (t) => {
  const dir = folder(t)
  writeFileSync(join(dir, 'identity.json'), '{"half')
  await assert.rejects(loadIdentity(dir), /damaged/)
  assert.equal(readFileSync(join(dir, 'identity.json'), 'utf8'), '{"half')
})

test('a lock is held by one, and given back by its holder or by his death', async (t) => {
  const dir = folder(t)
  const lock = await takeLock(dir)
  assert.equal(await lockHolder(dir), process.pid)
  await assert.rejects(takeLock(dir), /another agent \(pid \d+\)/)
  await lock.release()
  assert.equal(await lockHolder(dir), null)
  // A pid that was given to another process since: same number, another start.
  writeFileSync(join(dir, 'agent.lock.7'), `${process.pid} 00000000-0000-0000-0000-000000000000 1`)
  const next = await takeLock(dir)
  assert.deepEqual(readdirSync(dir), ['agent.lock.8'])
  await next.release()
})

test('of many who find a stale lock one takes it', async (t) => {
  const dir = folder(t)
  writeFileSync(join(dir, 'agent.lock.3'), '999999999 gone 1')
  const tries = await Promise.allSettled(Array.from({ length: 8 }, () => takeLock(dir)))
  assert.equal(tries.filter(({ status }) => status === 'fulfilled').length, 1)
})

const META: JournalEntry = {
  kind: 'meta',
  installation: null,
  revision: '3',
  complete: true,
  interface_id: null,
  last_epoch: 0,
}
const SETTINGS = { addresses: ['10.77.4.1/22'], listen_port: 51820, mtu: 1420, dns: [], open: [] }
const CONFIG: JournalEntry = { kind: 'config', config: SETTINGS }

test('a journal is read as far as it is whole, and goes on from there', (t) => {
  const dir = folder(t)
  const first = openJournal(dir)
  assert.deepEqual(first.entries, [])
  assert.ok(first.append([META]))
  first.close()
  writeFileSync(join(dir, 'peers.journal'), `${JSON.stringify(META)}\n{"kind":"me`)
  const second = openJournal(dir)
  assert.deepEqual(second.entries, [META])
  second.append([CONFIG])
  second.close()
  assert.deepEqual(openJournal(dir).entries, [META, CONFIG])
  assert.deepEqual(lastConfig(dir), SETTINGS)
})

test('a new journal takes the place of the old one in one step', (t) => {
  const dir = folder(t)
  const journal = openJournal(dir)
  journal.append([META, META, META])
  journal.replace([CONFIG])
  journal.append([META])
  journal.close()
  assert.deepEqual(openJournal(dir).entries, [CONFIG, META])
  assert.equal(statSync(join(dir, 'peers.journal')).mode & 0o777, 0o600)
})

test('whoever was on the way out is found again, by the last word about his slot', () => {
  const counting = { version: 1, epoch: 1, takeover: false, rx: '0', tx: '0', handshake_at: 0, resetting: null }
  const slot = (leaving: string[]) => ({
    kind: 'slot' as const,
    slot: 2,
    version: 1,
    at: '1',
    peer: null,
    written: null,
    counting: null,
    leaving: leaving.map((address) => ({ public_key: 'k', allowed_ips: [address], counting })),
    final: null,
  })
  assert.deepEqual(leavingAddresses([slot(['10.77.4.2/32'])]), ['10.77.4.2/32'])
  assert.deepEqual(leavingAddresses([slot(['10.77.4.2/32']), slot([])]), [])
})
