import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { askStatus, serveStatus, type Status } from './status-socket.ts'

const STATUS: Status = {
  version: '0',
  pid: 1,
  started_at: '2026-11-24T00:00:00.000Z',
  node_id: 'n',
  server_id: 's',
  control_url: 'https://vpn.example',
  interface: 'wg0',
  backend: 'kernel',
  public_key: 'k',
  link: 'up',
  revision: '7',
  peers: 3,
  warnings: [],
}

test('status is answered on a socket for the owner alone, also after a crash left one behind', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'prime-node-test-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  assert.equal(await askStatus(dir), null)
  writeFileSync(join(dir, 'status.sock'), '')
  const server = await serveStatus(dir, () => STATUS)
  t.after(() => server.close())
  assert.equal(statSync(join(dir, 'status.sock')).mode & 0o777, 0o600)
  assert.deepEqual(await askStatus(dir), STATUS)
})

test('whatever is written to the socket changes nothing', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'prime-node-test-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const server = await serveStatus(dir, () => STATUS)
  t.after(() => server.close())
  const socket = connect(join(dir, 'status.sock'))
  socket.on('error', () => undefined)
  socket.write('POST /stop HTTP/1.1\r\n\r\n'.repeat(1000))
  assert.deepEqual(await askStatus(dir), STATUS)
  socket.destroy()
})
