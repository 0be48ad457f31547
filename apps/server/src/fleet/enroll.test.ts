import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, test } from 'node:test'
import { EnrollAnswer } from '@prime-vpn/node-protocol'
import { freshDatabase } from '../platform/testing/index.ts'
import { installationId } from './installation.ts'
import { anEnrolment, aServer, aUser, CUSTOMER, enrolledServer, house, publicKey } from './testing/fixtures.ts'

const { sql, owner } = await freshDatabase({ after })
const h = await house({ after }, sql)
const { call } = h

const enrol = (token: string, more?: Record<string, unknown>) =>
  call('POST', '/node/enroll', anEnrolment(token, more), null)

async function aToken(
  more: Record<string, unknown> = {},
): Promise<{ id: string; token: string; server: Record<string, string> }> {
  const server = await call('POST', '/admin/servers', aServer(more))
  const { status, body } = await call('POST', `/admin/servers/${server.body.id}/enrollment-token`)
  assert.equal(status, 201)
  return { id: server.body.id, token: body.token, server: server.body }
}

test('a token of 128 bit lives an hour, is answered once and kept only as a hash', async () => {
  const server = await call('POST', '/admin/servers', aServer())
  const { status, body, headers } = await call('POST', `/admin/servers/${server.body.id}/enrollment-token`)
  assert.equal(status, 201)
  assert.equal(headers['cache-control'], 'no-store')
  assert.equal(Buffer.from(body.token.replace('enrol_', ''), 'base64url').length, 16)
  assert.doesNotMatch(body.token, /^-/)
  assert.ok(Math.abs(Date.parse(body.expires_at) - Date.now() - 3_600_000) < 10_000)
  const tables = await owner<
    { name: string }[]
  >`select table_name as name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'`
  for (const { name } of tables) {
    const found = await owner`select from ${owner(name)} t where t::text like ${`%${body.token.slice(6)}%`}`
    assert.equal(found.length, 0, name)
  }
})

test('a node that enrols gets what it needs, and customers see its server', async () => {
  const { id, token, server } = await aToken({ endpoint: 'de.vpn.example:443' })
  const key = publicKey()
  const { status, body, headers } = await enrol(token, { public_key: key })
  assert.equal(status, 200)
  assert.equal(headers['cache-control'], 'no-store')
  assert.deepEqual(EnrollAnswer.parse(body), body)
  assert.equal(body.server_id, id)
  assert.equal(body.installation, await installationId(sql))
  const base = server.subnet_v4?.replace(/\.0\/23$/, '')
  assert.equal(body.config.addresses[0], `${base}.1/23`)
  assert.match(body.config.addresses[1], /^fd.*::1\/64$/)
  assert.equal(body.config.listen_port, 443)
  const seen = await call('GET', `/servers/${id}`, undefined, CUSTOMER)
  assert.deepEqual([seen.body.public_key, seen.body.status], [key, 'offline'])
  assert.equal((await enrol(token)).status, 401)
})

test('of 200 that come with one token at the same moment one is enrolled', async () => {
  const { id, token } = await aToken()
  const answers = await Promise.all(Array.from({ length: 200 }, () => enrol(token)))
  assert.equal(answers.filter((a) => a.status === 200).length, 1)
  assert.equal(answers.filter((a) => a.status === 401 && a.body.error.code === 'UNAUTHENTICATED').length, 199)
  assert.equal((await sql`select from nodes where server_id = ${id}`).length, 1)
})

test('a token that is cut, extended, revoked by a newer one or a second too old is refused', async () => {
  const { id, token } = await aToken()
  for (let n = 1; n <= 6; n++) assert.equal((await enrol(token.slice(0, -n))).status, 401)
  for (const more of ['a', '=', ' ']) assert.equal((await enrol(token + more)).status, 401)
  const next = await call('POST', `/admin/servers/${id}/enrollment-token`)
  assert.equal((await enrol(token)).status, 401)
  await sql`update enrollment_tokens set expires_at = clock_timestamp() - interval '1 second' where server_id = ${id}`
  const expired = await enrol(next.body.token)
  assert.equal(expired.status, 401)
  assert.match(expired.body.error.message, /used, has expired or was revoked/)
})

test('an enrolled server gives a token only to replace its node, which is cut off at once', async () => {
  const { serverId, nodeId } = await enrolledServer(h)
  const url = `/admin/servers/${serverId}/enrollment-token`
  assert.equal((await call('POST', url)).status, 409)
  assert.ok(await h.fleet.nodeForLink(nodeId))
  const dismissed = new Promise((resolve) => void h.kv.subscribe('node-dismissed', resolve))
  const { status, body } = await call('POST', url, { replace: true })
  assert.equal(status, 201)
  assert.equal(await h.fleet.nodeForLink(nodeId), undefined)
  assert.equal(await dismissed, nodeId)
  assert.equal(await h.fleet.markLinked(nodeId, { linkId: nodeId, agentVersion: '1', backend: 'kernel' }), false)
  assert.equal((await call('GET', `/servers/${serverId}`, undefined, CUSTOMER)).status, 404)
  const again = await enrol(body.token)
  assert.equal(again.status, 200)
  assert.notEqual(again.body.node_id, nodeId)
})

test('a node may name the port but not another host than the record; a refusal leaves the token unused', async () => {
  const { id, token } = await aToken({ endpoint: 'fr.vpn.example:51820', ip_address: '192.0.2.77' })
  for (const endpoint of ['evil.example:51820', '192.0.2.78:51820'])
    assert.equal((await enrol(token, { endpoint })).status, 409, endpoint)
  for (const endpoint of ['fr.vpn.example', 'fr.vpn.example:0', 'a\nb:1'])
    assert.equal((await enrol(token, { endpoint })).status, 400, endpoint)
  const { status, body } = await enrol(token, { endpoint: 'FR.vpn.example:4500', listen_port: 51821 })
  assert.equal(status, 200)
  assert.equal(body.config.listen_port, 51821)
  assert.equal((await call('GET', `/admin/servers/${id}`)).body.endpoint, 'fr.vpn.example:4500')
})

test('keys in use, keys that are none and unknown fields are refused without using the token up', async () => {
  const used = anEnrolment((await aToken()).token)
  assert.equal((await call('POST', '/node/enroll', used, null)).status, 200)
  const { token } = await aToken()
  const customers = publicKey()
  await sql`insert into wireguard_keys (public_key, user_id) values (${customers}, ${await aUser(sql)})`
  assert.equal((await enrol(token, { public_key: used.public_key })).status, 409)
  assert.equal((await enrol(token, { identity_key: used.identity_key })).status, 409)
  assert.equal((await enrol(token, { public_key: customers })).status, 409)
  const zero = Buffer.alloc(32).toString('base64')
  const wrong = [
    { public_key: zero },
    { public_key: 'x' },
    { identity_key: randomBytes(31).toString('base64') },
    { identity_key: `${randomBytes(32).toString('base64').slice(0, 42)}B=` },
    { backend: 'magic' },
    { agent_version: 'x'.repeat(41) },
    { server_id: '019c0000-0000-7000-8000-000000000001' },
  ]
  for (const field of wrong) assert.equal((await enrol(token, field)).status, 400, JSON.stringify(field))
  assert.equal((await enrol(token)).status, 200)
})

test('the installation has one id, also for many who ask first', async () => {
  await owner`delete from installation`
  const ids = await Promise.all(Array.from({ length: 20 }, () => installationId(sql)))
  assert.equal(new Set(ids).size, 1)
})
