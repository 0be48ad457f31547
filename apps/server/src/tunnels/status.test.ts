import assert from 'node:assert/strict'
import { test } from 'node:test'
import { aUser, houseWithServer } from './testing/house.ts'

test('shows the present numbers, never less than what is stored, and marks the tunnel as watched', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const { body: c } = await h.call('POST', '/vpn/connect', user, {})
  const handshake = new Date('2026-11-24T09:00:00Z')
  await h.sql`update connections set bytes_sent = 9007199254740993, bytes_received = 5`
  h.samples.set(c.connection_id, {
    bytesSent: 3n,
    bytesReceived: 70n,
    uploadMbps: 1.5,
    downloadMbps: 20,
    lastHandshake: handshake,
  })
  const answer = await h.app.inject({ url: '/vpn/status', headers: { 'x-user': user } })
  assert.match(answer.body, /"bytes_sent":9007199254740993,/, 'exact to the last digit')
  const [shown] = answer.json().connections
  assert.deepEqual(
    { ...shown, started_at: 0, bytes_sent: 0 },
    {
      connection_id: c.connection_id,
      status: 'active',
      device_id: null,
      server: c.server,
      assigned_ip: c.assigned_ip,
      started_at: 0,
      bytes_sent: 0,
      bytes_received: 70,
      upload_speed_mbps: 1.5,
      download_speed_mbps: 20,
      last_handshake: handshake.toJSON(),
      server_load_pct: shown.server_load_pct,
    },
  )
  assert.deepEqual(
    h.watched.map((key) => key.connectionId),
    [c.connection_id],
  )
})

test("shows nobody else's tunnels, and none that ended", async (t) => {
  const h = await houseWithServer(t)
  const [user, other] = [await aUser(h.sql), await aUser(h.sql)]
  await h.call('POST', '/vpn/connect', user, {})
  assert.deepEqual((await h.call('GET', '/vpn/status', other)).body, { connections: [] })
  await h.call('POST', '/vpn/disconnect', user, {})
  assert.deepEqual((await h.call('GET', '/connection/status', user)).body, { connections: [] })
})
