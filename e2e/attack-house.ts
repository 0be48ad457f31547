import { join } from 'node:path'
import { after } from 'node:test'
import { startServer } from '@prime-vpn/server'
import { ROLES, type Role } from '../apps/server/src/accounts/index.ts'
import { defer, freshDatabase, temporaryFolder, type FreshDatabase } from '../apps/server/src/platform/testing/index.ts'

export const PASSWORD = 'a pass phrase for attacks'
export type Person = { id: string; email: string; token: string; refresh: string }
export type Operation = { method: string; path: string; permission: string | undefined; query: string[]; body: boolean }
type Described = {
  'x-permission'?: string
  requestBody?: unknown
  parameters?: { in: string; name: string }[]
}
export type Sent = { token?: string | undefined; body?: unknown; type?: string; headers?: Record<string, string> }
// The attacks look into answers of every route.
// oxlint-disable-next-line typescript/no-explicit-any
export type Answer = { status: number; text: string; json: any; headers: Headers }

/** The whole control plane in this process, on a database of its own and without limits, as an attacker meets it. */
export class AttackHouse {
  readonly base: string
  readonly database: FreshDatabase
  readonly people = new Map<Role, Person>()
  operations: Operation[] = []
  private constructor(base: string, database: FreshDatabase) {
    this.base = base
    this.database = database
  }

  static async open(env: Record<string, string> = {}): Promise<AttackHouse> {
    const database = await freshDatabase({ after })
    const folder = await temporaryFolder({ after })
    const running = await startServer({
      DATABASE_URL: database.url,
      MIGRATE_DATABASE_URL: database.ownerUrl,
      DATA_DIR: join(folder, 'data'),
      PORT: '0',
      ADMIN_EMAIL: 'first@example.com',
      ADMIN_PASSWORD: PASSWORD,
      LOG_LEVEL: 'silent',
      RATE_LIMIT_ENABLED: 'false',
      DDOS_PROTECTION_ENABLED: 'false',
      ...env,
    })
    defer({ after }, () => running.stop())
    const house = new AttackHouse(running.url, database)
    house.operations = operationsOf(await (await fetch(`${running.url}/openapi.json`)).json())
    for (const role of ROLES) house.people.set(role, await house.person(`${role}@example.com`, role))
    return house
  }

  async call(method: string, path: string, sent: Sent = {}): Promise<Answer> {
    const { token, body, type = 'application/json', headers } = sent
    const answer = await fetch(this.base + path, {
      method,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': type }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body) }), // prettier-ignore
    })
    const text = await answer.text()
    const json: unknown = answer.headers.get('content-type')?.includes('json') && text !== '' ? JSON.parse(text) : null
    return { status: answer.status, text, json, headers: answer.headers }
  }

  of(role: Role): Person {
    const person = this.people.get(role)
    if (!person) throw new Error(`nobody is ${role}`)
    return person
  }

  async person(email: string, role: Role = 'user'): Promise<Person> {
    await this.call('POST', '/api/v1/auth/register', { body: { email, password: PASSWORD } })
    await this.database.owner`update users set role = ${role}, is_verified = true where email = ${email}`
    const { json } = await this.call('POST', '/api/v1/auth/login', { body: { email, password: PASSWORD } })
    return { id: json.user.id, email, token: json.access_token, refresh: json.refresh_token }
  }
}

function operationsOf(document: unknown): Operation[] {
  const { paths } = document as { paths: Record<string, Record<string, Described>> }
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]) => ({
      method: method.toUpperCase(),
      path,
      permission: described['x-permission'],
      query: (described.parameters ?? []).filter((p) => p.in === 'query').map(({ name }) => name),
      body: described.requestBody !== undefined,
    })),
  )
}

/** What an id of its kind looks like, and what nobody has. */
const NOBODYS = '0198c0de-0000-7000-8000-00000000dead'
const KINDS: [RegExp, string][] = [
  [/\/\{ip\}/, '/192.0.2.99'],
  [/(\/admin\/plans|\/admin\/oauth-clients)\/\{\w+\}/, '$1/nobodys'],
]

/** The path with ids that exist nowhere, or with `value`, in place of its parameters. */
export function filled(path: string, value?: string): string {
  const known = value === undefined ? KINDS.reduce((text, [kind, with_]) => text.replace(kind, with_), path) : path
  return known.replaceAll(/\{\w+\}/g, value ?? NOBODYS)
}
