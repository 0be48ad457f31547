import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Db, Sql } from '../db/index.ts'
import { Conflict, invalidField } from '../errors.ts'
import type { Secrets } from '../secrets.ts'
import type { App } from './app-type.ts'

/** What a handler of an `idempotent` route may use when the caller sent a key. */
export type Idempotency = {
  /** The effect an instance that died had begun under this key: finish or undo it, never make a second. */
  found: string | null
  /** Notes the effect in its own transaction. */
  mark(tx: Db, effectId: string): Promise<void>
}

declare module 'fastify' {
  interface FastifyRequest {
    idempotency: Idempotency | null
  }
}

const TAKE_OVER_AFTER_S = 30
const WAIT_FOR_TWIN_MS = 10_000
const POLL_MS = 100
const KEPT_HOURS = 24
const PURPOSE = 'idempotency'

type Key = { user: string; route: string; hash: Buffer; salt: Buffer; body: Buffer }
type Row = {
  body_hash: Buffer
  effect_id: string | null
  status: number | null
  answer: Buffer | null
  stale: boolean
  expired: boolean
}

const sha256 = (...parts: (string | Buffer)[]): Buffer => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest()
}

const claim = (sql: Sql, key: Key) => sql`
  insert into idempotency_marks (user_id, route, key_hash, body_hash) values (${key.user}, ${key.route}, ${key.hash}, ${key.body})
  on conflict do nothing returning true as claimed`

const read = (sql: Sql, key: Key) => sql<Row[]>`
  select body_hash, effect_id, status, answer,
         claimed_at < clock_timestamp() - make_interval(secs => ${TAKE_OVER_AFTER_S}) as stale,
         created_at < clock_timestamp() - make_interval(hours => ${KEPT_HOURS}) as expired
    from idempotency_marks where user_id = ${key.user} and route = ${key.route} and key_hash = ${key.hash}`

const takeOver = (sql: Sql, key: Key) => sql<{ effect_id: string | null }[]>`
  update idempotency_marks set claimed_at = clock_timestamp()
   where user_id = ${key.user} and route = ${key.route} and key_hash = ${key.hash} and status is null
     and claimed_at < clock_timestamp() - make_interval(secs => ${TAKE_OVER_AFTER_S})
  returning effect_id`

const forget = (sql: Sql, key: Key) => sql`
  delete from idempotency_marks where user_id = ${key.user} and route = ${key.route} and key_hash = ${key.hash}`

/** Marks older than a day go; safe to run twice. */
export const forgetOldMarks = async (db: Db): Promise<void> => {
  await db`delete from idempotency_marks where created_at < clock_timestamp() - make_interval(hours => ${KEPT_HOURS})`
}

/** Kept: what the caller did or did wrong. Not kept: our faults, and answers that change by signing in or waiting. */
const isKept = (status: number): boolean => status < 500 && status !== 401 && status !== 429

/**
 * `Idempotency-Key` for routes with `config.idempotent`. The claim is a row of its own; the effect notes itself in it in
 * the effect's transaction, so that a repeat after a crash finds either nothing or the whole effect.
 * @param userOf the signed-in caller; keys of different users never meet
 */
export function useIdempotency(app: App, sql: Sql, secrets: Secrets, userOf: (req: FastifyRequest) => string): void {
  const open = new WeakMap<FastifyRequest, Key>()
  const binding = (key: Key): string => `${key.user} ${key.route}`
  app.decorateRequest('idempotency', null)

  function keyOf(req: FastifyRequest): Key | null {
    const given = req.headers['idempotency-key']
    const { idempotent = false } = req.routeOptions.config
    if (given === undefined || idempotent === false) return null
    if (typeof given !== 'string' || given.length < 16 || given.length > 255)
      throw invalidField('Idempotency-Key', 'must be 16 to 255 characters')
    const body = sha256(JSON.stringify(req.params), JSON.stringify(req.query), JSON.stringify(req.body ?? {}))
    const route = typeof idempotent === 'string' ? idempotent : `${req.method} ${req.routeOptions.url}`
    return { user: userOf(req), route, hash: sha256(given), salt: Buffer.from(given), body }
  }

  function begin(req: FastifyRequest, key: Key, found: string | null): void {
    open.set(req, key)
    req.idempotency = {
      found,
      async mark(tx, effectId) {
        await tx`update idempotency_marks set effect_id = ${effectId}
                  where user_id = ${key.user} and route = ${key.route} and key_hash = ${key.hash}`
      },
    }
  }

  function replay(reply: FastifyReply, key: Key, row: Row): FastifyReply {
    const text = row.answer ? secrets.open(PURPOSE, binding(key), row.answer, key.salt).toString() : ''
    return reply
      .code(row.status ?? 200)
      .header('idempotent-replayed', 'true')
      .type('application/json; charset=utf-8')
      .serializer(String)
      .send(text)
  }

  app.addHook('preHandler', async (req, reply) => {
    const key = keyOf(req)
    if (!key) return
    const until = Date.now() + WAIT_FOR_TWIN_MS
    for (;;) {
      if ((await claim(sql, key)).length > 0) return begin(req, key, null)
      const row = (await read(sql, key))[0]
      if (row?.expired) await forget(sql, key)
      if (!row || row.expired) continue
      if (!row.body_hash.equals(key.body)) throw new Conflict('This Idempotency-Key was used with another request.')
      if (row.status !== null) return replay(reply, key, row)
      if (row.stale) {
        const taken = (await takeOver(sql, key))[0]
        if (taken) return begin(req, key, taken.effect_id)
      }
      if (Date.now() > until) throw new Conflict('A request with this Idempotency-Key is still running.')
      await sleep(POLL_MS)
    }
  })

  app.addHook('onSend', async (req, reply, payload) => {
    const key = open.get(req)
    if (!key) return payload
    open.delete(req)
    if (!isKept(reply.statusCode)) {
      await forget(sql, key)
    } else {
      const sealed =
        typeof payload === 'string' ? secrets.seal(PURPOSE, binding(key), Buffer.from(payload), key.salt) : null
      await sql`update idempotency_marks set status = ${reply.statusCode}, answer = ${sealed}
                 where user_id = ${key.user} and route = ${key.route} and key_hash = ${key.hash}`
    }
    return payload
  })
}
