import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isPermission, permissionsOf, ROLES } from '../apps/server/src/accounts/index.ts'
import { AttackHouse, filled, type Operation } from './attack-house.ts'

const house = await AttackHouse.open()
const name = ({ method, path }: Operation): string => `${method} ${path}`
const closed = house.operations.filter(({ permission }) => permission !== undefined)
const open = house.operations.filter(({ permission }) => permission === undefined)
/** Ends the session it is called with. */
const ending = (o: Operation): boolean => /\/logout(-all)?$/.test(o.path)
/** Takes any fields: they are Stripe's, or a browser's. */
const foreignShape = (o: Operation): boolean => /\/webhook$|\/passkeys\/.*\/verify$/.test(o.path)
/** Whoever holds the most: nothing stops the request before its content is judged. */
const chief = house.of('super_admin').token

/** Tries all, several at a time, and fails with all that went wrong, not with the first alone. */
async function each<T>(cases: readonly T[], fault: (one: T) => Promise<string | false>): Promise<void> {
  const waiting = cases.values()
  const faults: string[] = []
  const lane = async (): Promise<void> => {
    for (const one of waiting) {
      const found = await fault(one)
      if (found !== false) faults.push(found.slice(0, 200))
    }
  }
  await Promise.all(Array.from({ length: 8 }, lane))
  assert.deepEqual(faults, [])
}

test('without credentials only sign-in, plans, enrolment, the webhook and subscription URLs answer', () => {
  assert.ok(closed.length > 60)
  for (const o of open)
    assert.match(o.path, /^\/api\/v1\/(auth\/|subscriptions\/plans$|payments\/webhook$|node\/enroll$|sub\/)/, name(o))
})

test('no route is there for debugging, for tests or to stop the server', () => {
  for (const o of house.operations)
    assert.doesNotMatch(o.path, /debug|shutdown|restart|\btest|eval|exec|dump|backup|\benv\b|standin/, name(o))
})

test('every other route is 401 without a token, and with what opens something else', async () => {
  const { refresh } = house.of('super_admin')
  const foreign = [
    undefined,
    'x',
    refresh,
    'enrol_AAAAAAAAAAAAAAAAAAAAAA',
    `psu_${'A'.repeat(43)}`,
    'null',
    `${chief}x`,
  ]
  await each(closed, async (o) => {
    for (const token of foreign) {
      const { status } = await house.call(o.method, filled(o.path), { token })
      if (status !== 401) return `${name(o)} with ${token?.slice(0, 8)}: ${status}`
    }
    return false
  })
})

test('every route is 403 to exactly the roles without its permission, by each spelling of its path', async () => {
  await each(closed, async (o) => {
    const { permission = '' } = o
    if (!isPermission(permission)) return `${name(o)} needs no permission that exists`
    for (const role of ROLES) {
      const { token } = house.of(role)
      const may = permissionsOf(role).has(permission)
      // A CSRF token is for cookies alone, whatever one may.
      if (may && (ending(o) || o.path.endsWith('/csrf'))) continue
      const path = filled(o.path)
      const spellings = may ? [path] : [path, path.replace('/api/v1', ''), path.replaceAll('/', '//')]
      for (const spelling of spellings) {
        const { status } = await house.call(o.method, spelling, { token })
        if ((status === 403) === may) return `${name(o)} as ${role} by ${spelling}: ${status}`
      }
      if (may || o.method !== 'GET') continue
      const { status } = await house.call('HEAD', path, { token })
      if (status !== 403) return `HEAD ${o.path} as ${role}: ${status}`
    }
    return false
  })
})

test('a field that no route knows is 400 everywhere, named, before anything is looked up', async () => {
  const types = ['application/json', 'application/json;charset=utf-8', 'Application/JSON ;', 'application/json\t;x']
  await each(
    house.operations.filter((o) => o.body && !foreignShape(o)),
    async (o) => {
      for (const type of types) {
        const body = { is_superuser_: true }
        const { status, json } = await house.call(o.method, filled(o.path), { token: chief, body, type })
        if (status === 415 && type !== types[0]) continue
        // Where one field decides what the others are, that one is missed first.
        const named = (json?.error?.details ?? []).some(
          (d: { field: string; message: string }) => d.field === 'is_superuser_' || /discriminator/.test(d.message),
        )
        if (status !== 400 || !named) return `${name(o)} as ${type}: ${status} ${JSON.stringify(json)}`
      }
      return false
    },
  )
})

test('a body of another type reaches no handler', async () => {
  await each(
    house.operations.filter((o) => o.body && !foreignShape(o)),
    async (o) => {
      for (const type of [
        'text/plain',
        'application/x-www-form-urlencoded',
        'multipart/form-data; boundary=x',
        'text/json',
      ]) {
        const { status } = await house.call(o.method, filled(o.path), { token: chief, body: '{}', type })
        if (status !== 415) return `${name(o)} as ${type}: ${status}`
      }
      return false
    },
  )
})

test('a query that no route knows is 400 everywhere, and so is a name twice', async () => {
  await each(house.operations, async (o) => {
    if (ending(o) || o.path.endsWith('/csrf')) return false
    const twice = o.query[0] ?? 'a'
    for (const query of ['debug_=1', `${twice}=1&${twice}=1`, 'a%00b=1']) {
      const body = o.body ? {} : undefined
      const { status } = await house.call(o.method, `${filled(o.path)}?${query}`, { token: chief, body })
      if (status !== 400) return `${name(o)}?${query}: ${status}`
    }
    return false
  })
})

const HOSTILE_BODIES: (string | Buffer)[] = [
  '[',
  '[]',
  'null',
  '5',
  '"x"',
  '['.repeat(5_000),
  '{"__proto__":{"role":"super_admin"}}',
  '{"constructor":{"prototype":{"role":"super_admin"}}}',
  '\ufeff{}',
  '{"a":1e999}',
  '{"\\u0000":1}',
  '{"\\ud800":1}',
  '{"is_superuser_":true}',
  Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
  Buffer.from('{"a":1}', 'utf16le'),
]

test('hostile bodies are refused by every route that takes one, and are a fault of ours nowhere', async () => {
  await each(
    house.operations.filter((o) => o.method !== 'GET' && !ending(o)),
    async (o) => {
      for (const body of HOSTILE_BODIES) {
        const { status, text } = await house.call(o.method, filled(o.path), { token: chief, body })
        const due = o.body && !foreignShape(o) ? status === 400 : status >= 400 && status !== 500
        if (!due) return `${name(o)} ${String(body).slice(0, 30)}: ${status} ${text}`
      }
      return false
    },
  )
})

/** In place of an id, decoded once by whoever reads the path. */
const HOSTILE_IDS = ['x', '0', '-1', '%00', '%2561', '..%2f..%2fetc', "'%20or%201=1--", '__proto__', 'a'.repeat(255), '%F0%9F%92%A9', '%2F%2F'] // prettier-ignore

test('hostile ids are objects that do not exist, never a hit and never a fault of ours', async () => {
  await each(
    house.operations.filter(({ path }) => path.includes('{')),
    async (o) => {
      for (const id of HOSTILE_IDS) {
        const body = o.body ? {} : undefined
        const { status, text } = await house.call(o.method, filled(o.path, id), { token: chief, body })
        // What could be an id (a plan's is text) is looked up after the body was judged; without billing it is 503.
        const due = status === 404 || status === 400 || (status === 503 && text.includes('UNAVAILABLE'))
        if (!due) return `${name(o)} ${id}: ${status} ${text}`
      }
      return false
    },
  )
})
