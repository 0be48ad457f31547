import { z } from 'zod'
import { audit } from '../../platform/audit.ts'
import { AppError, invalidField, NotFound } from '../../platform/errors.ts'
import type { Db } from '../../platform/db/index.ts'
import { ErrorBody, listAnswer, listOf, PageQuery, type App } from '../../platform/http/index.ts'
import { contains, networkOf, parseNetwork, type Address, type Network } from '../address/address.ts'
import { banOver, banById, listBans, removeBans, writeManual, type Ban } from '../bans/store.ts'
import type { AdminProtectionDeps } from './deps.ts'
import { forget } from './forget.ts'
import { BanView, missing, NetworkParam, NewBan, refused, tags } from './schemas.ts'

const base = '/api/v1/admin/bans'

/** Blocks above these sizes hold so many callers that a ban is a mistake. */
const WIDEST = { 4: 8, 6: 16 } as const

const banView = ({ network, until, ...ban }: Ban) => ({
  ...ban,
  ip: network.replace(/\/(32|128)$/, ''),
  expires_at: until,
})

/** @throws 400 for a block that would shut out the caller, a proxy, or nearly everybody */
function assertBannable(network: Network, caller: Address, proxies: readonly Network[]): void {
  if (network.length < WIDEST[network.family]) throw invalidField('ip', 'holds too many addresses')
  const whole = (address: Address): Network => networkOf(address, address.family === 4 ? 32 : 128)
  if (contains(network, whole(caller))) throw invalidField('ip', 'is your own address')
  if (proxies.some((proxy) => contains(network, proxy) || contains(proxy, network)))
    throw invalidField('ip', 'is a trusted proxy')
}

const networkIn = (text: string): Network => {
  const network = parseNetwork(text)
  if (!network) throw new NotFound('The ban')
  return network
}

/** 404; where a wider ban by staff holds the address, that one is named, since only as a whole it can be lifted. */
async function noBan(db: Db, network: Network): Promise<AppError> {
  const over = await banOver(db, network)
  if (over === undefined) return new NotFound('The ban')
  return new AppError('NOT_FOUND', `There is no ban of its own; ${over} holds it and is lifted as a whole.`)
}

/** Bans: seen, made and lifted by staff. */
export function banRoutes(app: App, { protection, db, callerOf }: AdminProtectionDeps): void {
  const { state } = protection
  const config = { needs: 'bans:write' }

  app.get(
    base,
    {
      config,
      schema: {
        tags,
        summary: 'Bans in force',
        querystring: PageQuery,
        response: { 200: listOf(BanView), ...refused },
      },
    },
    async (req) => {
      const { total, data } = await listBans(db, req.query)
      return listAnswer(req.url, req.query, total, data.map(banView))
    },
  )

  app.post(
    base,
    {
      config: { ...config, idempotent: true },
      schema: {
        tags,
        summary: 'Ban an address or a network',
        body: NewBan,
        response: { 201: BanView, ...missing, 409: ErrorBody },
      },
    },
    async (req, reply) => {
      const network = networkIn(req.body.ip)
      assertBannable(network, state.clients.of(req.raw).address, state.config.trustedProxies)
      const by = callerOf(req).userId
      const { reason, duration_seconds: seconds } = req.body
      if (req.idempotency?.found) {
        const made = await banById(db, req.idempotency.found)
        if (!made) throw new NotFound('The ban')
        // The instance that died after writing it may have told nobody.
        await state.bans.spread({ network, leftMs: made.leftMs, byStaff: true })
        return reply.code(201).send(banView(made.ban))
      }
      const ban = await db.begin(async (tx) => {
        const written = await writeManual(tx, { network, reason, seconds, by })
        await req.idempotency?.mark(tx, written.id)
        await audit(tx, {
          actor: by,
          action: 'ban.added',
          subject: { type: 'ban', id: written.id },
          fields: ['ip', 'reason', 'duration_seconds'],
          requestId: req.id,
        })
        return written
      })
      await state.bans.spread({ network, leftMs: seconds * 1_000, byStaff: true })
      return reply.code(201).send(banView(ban))
    },
  )

  app.delete(
    `${base}/:ip`,
    {
      config,
      schema: {
        tags,
        summary: 'Lift a ban, and wider ones that came by themselves; the `/` of a network is written `%2F`',
        params: NetworkParam,
        response: { 204: z.null(), ...missing },
      },
    },
    async (req, reply) => {
      const network = networkIn(req.params.ip)
      const lifted = await db.begin(async (tx) => {
        const removed = await removeBans(tx, network)
        if (removed.length === 0) throw await noBan(tx, network)
        for (const { id } of removed)
          await audit(tx, {
            actor: callerOf(req).userId,
            action: 'ban.lifted',
            subject: { type: 'ban', id },
            requestId: req.id,
          })
        return removed
      })
      for (const ban of lifted) await state.bans.spread({ network: ban.network, leftMs: 0, byStaff: true })
      // One more failed attempt must not ban again what was just forgiven.
      await forget(protection, [state.suspicion.attemptsOf(state.ids.ofAddress(network))])
      return reply.code(204).send(null)
    },
  )
}
