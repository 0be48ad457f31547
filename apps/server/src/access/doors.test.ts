import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import WebSocket from 'ws'
import { ROLES } from '../accounts/index.ts'
import { DOORS } from './matrix.ts'
import { openWorld, type Caller } from './testing/world.ts'

const world = await openWorld({ after })
const SIGNED_IN: Caller[] = [...ROLES, 'token:vpn', 'token:account', 'token:staff']
const form = { 'content-type': 'application/x-www-form-urlencoded' }

const bearer = (caller: Caller): Record<string, string> => {
  const token = world.tokenOf(caller)
  return token === undefined ? {} : { authorization: `Bearer ${token}` }
}
async function knock(door: string, value: string, caller: Caller): Promise<string> {
  const [method, path = ''] = door.split(' ')
  const answer = await world.app.inject({
    method: method as 'GET' | 'POST',
    url: path.replace(/:\w+/, value),
    headers: { ...bearer(caller), ...(method === 'POST' ? form : {}) },
    ...(method === 'POST' ? { payload: '' } : {}),
  })
  return `${answer.statusCode} ${String(answer.headers['content-type'])}`
}

test('every route outside the document stands in the reviewed list, and nothing else does', () => {
  const withoutHead = world.doors.filter((door) => !door.startsWith('HEAD '))
  assert.deepEqual(withoutHead.toSorted(), Object.keys(DOORS).toSorted())
})

test('no sign-in opens more of them than nobody has, by no id of another user either', async () => {
  const values = ['abcdefghijklmnopqrstu', world.victim.device_id ?? '', world.victim.session_id ?? '']
  for (const [door, who] of Object.entries(DOORS)) {
    if (who !== 'public') continue
    for (const value of door.includes(':') ? values : ['']) {
      const nobodys = await knock(door, value, 'anonymous')
      assert.doesNotMatch(nobodys, /^5/, door)
      if (value !== '') assert.match(nobodys, /^4/, door)
      for (const caller of SIGNED_IN) assert.equal(await knock(door, value, caller), nobodys, `${door} as ${caller}`)
    }
  }
})

test('the doors of staff open to staff and to a token of theirs alone', async () => {
  for (const [door, who] of Object.entries(DOORS)) {
    if (who !== 'support') continue
    for (const caller of ['anonymous', ...SIGNED_IN] as Caller[]) {
      const due = caller === 'anonymous' ? 401 : ['user', 'token:vpn', 'token:account'].includes(caller) ? 403 : 200
      assert.equal(Number((await knock(door, '', caller)).split(' ')[0]), due, `${door} as ${caller}`)
    }
  }
})

/** Opens a socket and leaves it. @returns the status of the refusal, or 101 */
async function opened(url: string, caller: Caller): Promise<number> {
  const ws = new WebSocket(url, { headers: bearer(caller) })
  ws.on('error', () => undefined)
  const refused = once(ws, 'unexpected-response').then(([, res]) => (res as { statusCode: number }).statusCode)
  const status = await Promise.race([refused, once(ws, 'open').then(() => 101)])
  ws.terminate()
  return status
}

test("a socket opens for one's own id alone: another's is 404 for staff and tokens too, nobody is 401", async () => {
  const url = await world.app.listen({ host: '127.0.0.1', port: 0 })
  const at = (id: string) => `${url.replace('http', 'ws')}/api/v1/ws/connection/${id}`
  const victim = world.victim.user_id ?? ''
  assert.equal(await opened(at(victim), 'anonymous'), 401)
  for (const caller of SIGNED_IN) {
    const me = await world.call(caller, { method: 'GET', path: '/api/v1/users/me' }, undefined)
    assert.equal(await opened(at(me.json<{ id: string }>().id), caller), 101, caller)
    assert.equal(await opened(at(victim), caller), 404, caller)
    assert.equal(await opened(`${url.replace('http', 'ws')}/api/v1/ws/other`, caller), 404, caller)
  }
})

test('a plain call of a socket’s path is told so, whoever calls', async () => {
  for (const url of ['/api/v1/node/link', '/ws/connection/x'])
    for (const caller of ['anonymous', ...SIGNED_IN] as Caller[]) {
      const answer = await world.app.inject({ url, headers: bearer(caller) })
      assert.deepEqual([answer.statusCode, /"Upgrade"/.test(answer.body)], [400, true], `${url} as ${caller}`)
    }
})

test('wrong secret addresses of confs are failed attempts: enough of them ban whoever tries', async (t) => {
  const strict = await openWorld(t, { RATE_LIMIT_ENABLED: 'false', NODE_ENV: 'test' })
  const get = (url: string) => strict.app.inject({ url, remoteAddress: '203.0.113.77' })
  for (let i = 0; i < 50; i++) {
    const { statusCode } = await get(`/sub/psu_${String(i).padStart(43, 'x')}`)
    if (i < 49) assert.equal(statusCode, 404)
  }
  const answers = await Promise.all([get('/sub/x'), get('/api/v1/servers')])
  for (const { statusCode, body } of answers) {
    assert.equal(statusCode, 429)
    assert.match(body, /"IP_BANNED"/)
  }
  assert.equal((await strict.app.inject({ url: '/sub/x', remoteAddress: '203.0.113.78' })).statusCode, 404)
})
