import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { LightMyRequestResponse } from 'fastify'
import { ROLES } from '../accounts/index.ts'
import { newId } from '../platform/ids.ts'
import { MATRIX, type Access } from './matrix.ts'
import { openWorld, type Caller, type Route } from './testing/world.ts'

const world = await openWorld({ after })
const nameOf = ({ method, path }: Route): string => `${method} ${path}`
const listed = world.routes.flatMap((route) => {
  const access = MATRIX[nameOf(route)]
  return access ? [{ route, access }] : []
})

const NOBODYS: Record<string, string> = { ip: '192.0.2.77', client_id: 'nobody', id: newId() }
/** The path with ids that nobody has, or with the victim's. */
const filled = (path: string, ids: Record<string, string>): string =>
  path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(ids[name] ?? NOBODYS[name] ?? newId()))

const SCOPES = ['vpn', 'account', 'staff']
function may(caller: Caller, { who, by = 'session' }: Access): boolean {
  if (who === 'public') return true
  if (caller === 'anonymous') return false
  if (!caller.startsWith('token:')) return ROLES.findIndex((role) => role === caller) >= ROLES.indexOf(who)
  const owner = caller === 'token:staff' ? 'super_admin' : 'user'
  const scope = SCOPES.indexOf(caller.slice('token:'.length))
  return ROLES.indexOf(owner) >= ROLES.indexOf(who) && by !== 'session' && scope >= SCOPES.indexOf(by)
}

const codeOf = (answer: LightMyRequestResponse): string | undefined =>
  answer.headers['content-type']?.toString().startsWith('application/json')
    ? answer.json<{ error?: { code: string } }>().error?.code
    : undefined

const CALLERS: Caller[] = ['anonymous', ...ROLES, 'token:vpn', 'token:account', 'token:staff']

test('every route of the document stands in the reviewed matrix, and nothing else does', () => {
  assert.deepEqual(world.routes.map(nameOf).toSorted(), Object.keys(MATRIX).toSorted())
})

test('every role, and a token of every scope, may call what the matrix says and nothing more', async () => {
  const faults: string[] = []
  for (const { route, access } of listed) {
    for (const caller of CALLERS) {
      const answer = await world.call(caller, { ...route, path: filled(route.path, {}) }, {})
      const code = codeOf(answer)
      const expected = may(caller, access) ? 'allowed' : caller === 'anonymous' ? 'UNAUTHENTICATED' : 'FORBIDDEN'
      // Only a cookie has a CSRF token: the sessions here are by token, and are told so.
      const onlyForCookies = route.path.endsWith('/auth/csrf') && code === 'FORBIDDEN' && caller !== 'anonymous'
      const got = code === 'UNAUTHENTICATED' || code === 'FORBIDDEN' ? code : 'allowed'
      if (got !== expected && !onlyForCookies) faults.push(`${nameOf(route)} as ${caller}: ${got}, not ${expected}`)
      if (answer.statusCode === 500) faults.push(`${nameOf(route)} as ${caller}: 500`)
    }
  }
  assert.deepEqual(faults, [])
})

test("another user's object answers as if it did not exist, to every role, and stays as it was", async () => {
  const faults: string[] = []
  for (const { route, access } of listed) {
    if (!access.foreign) continue
    const { status, staff = status, body = {}, upTo } = access.foreign
    const sent = Object.fromEntries(Object.entries(body).map(([name, value]) => [name, world.victim[value] ?? value]))
    for (const caller of [...ROLES, 'token:vpn', 'token:account'] as Caller[]) {
      if (!may(caller, access)) continue
      if (upTo && ROLES.findIndex((role) => role === caller) > ROLES.indexOf(upTo)) continue
      const answer = await world.call(caller, { ...route, path: filled(route.path, world.victim) }, sent)
      const due = ROLES.some((role) => role === caller && role !== 'user') ? staff : status
      if (answer.statusCode !== due) faults.push(`${nameOf(route)} as ${caller}: ${answer.statusCode}, not ${due}`)
    }
  }
  assert.deepEqual(faults, [])
  assert.ok(await world.stillThere())
})

test('each route that takes an id of an own object says what a foreign one answers', () => {
  const OWNED = /\{(session_id|passkey_id|token_id|device_id|connection_id|invoice_id|refund_id)\}/
  const missing = listed.filter(
    ({ route, access }) => OWNED.test(route.path) && !route.path.includes('/admin/') && !access.foreign,
  )
  assert.deepEqual(
    missing.map(({ route }) => nameOf(route)),
    [],
  )
})
