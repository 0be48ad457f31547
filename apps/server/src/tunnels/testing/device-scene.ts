import assert from 'node:assert/strict'
import { aDevice, aUser, heldUp, publicKey, type House } from './house.ts'

type Tunnel = { key: string; counts: boolean }
/** What a device has: its key, and the keys of its tunnels, which are those of their leases. */
export async function stateOf({ sql }: House, device: string) {
  const [row] = await sql<{ public_key: string }[]>`select public_key from devices where id = ${device}`
  const tunnels = await sql<(Tunnel & { leased: string })[]>`
    select c.client_public_key as key, l.public_key as leased, c.superseded_at is null as counts
      from connections c join leases l on l.connection_id = c.id
     where c.device_id = ${device} and c.status = 'connected' order by c.started_at`
  assert.ok(tunnels.every(({ key, leased }) => key === leased))
  return { key: row?.public_key, tunnels: tunnels.map(({ key, counts }) => ({ key, counts })) }
}

/** A device with a tunnel under `old`. */
export async function scene(h: House) {
  const user = await aUser(h.sql)
  const old = publicKey()
  const device = await aDevice(h.sql, user, old)
  const at = `/users/me/devices/${device}`
  const connect = (body: object = {}) => h.call('POST', '/vpn/connect', user, { device_id: device, ...body })
  assert.equal((await connect()).status, 201)
  const pending = (send: () => ReturnType<House['call']>) => heldUp(h, send)
  const rotate = (key: string) => h.call('PUT', `${at}/key`, user, { public_key: key })
  return { user, old, device, at, connect, pending, rotate, state: () => stateOf(h, device) }
}
