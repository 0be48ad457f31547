import { z } from 'zod'
import { audit } from '../../platform/audit.ts'
import type { Db } from '../../platform/db/index.ts'
import { Conflict, InvalidInput, NotFound, type Detail } from '../../platform/errors.ts'
import { ErrorBody, listAnswer, listOf, PageQuery, plainText, Time, type App } from '../../platform/http/index.ts'
import { newId } from '../../platform/ids.ts'
import type { Parts } from '../parts.ts'
import { principalOf } from '../principal.ts'
import {
  clientById,
  deleteClient,
  insertClient,
  listClients,
  updateClient,
  type Client,
  type ClientWish,
} from './client-store.ts'
import { endGrantsOfClient } from './grant-store.ts'
import { redirectFault } from './redirects.ts'

const ClientId = z.string().regex(/^[a-z0-9][a-z0-9._-]{2,63}$/, 'must be 3 to 64 of a-z, 0-9, dot, dash, underscore')
const Wish = {
  name: plainText(1, 100),
  kind: z.enum(['native', 'web', 'device']),
  redirect_uris: z.array(z.string().max(500)).max(20),
}
const ClientView = z.object({
  client_id: z.string(),
  name: z.string(),
  kind: z.enum(['native', 'web', 'device']),
  redirect_uris: z.array(z.string()),
  scopes: z.array(z.string()),
  shipped: z.boolean(),
  created_at: Time,
})
const params = z.strictObject({ client_id: ClientId })
const refusals = { 400: ErrorBody, 403: ErrorBody, 404: ErrorBody, 409: ErrorBody }
const BASE = '/api/v1/admin/oauth-clients'

/** @throws {InvalidInput} naming each address that will not do */
function assertRedirects({ kind, redirect_uris }: ClientWish): void {
  const faults: Detail[] = redirect_uris.flatMap((uri, i) => {
    const message = redirectFault(kind, uri)
    return message === null ? [] : [{ field: `redirect_uris.${i}`, message }]
  })
  if (kind === 'device' ? redirect_uris.length > 0 : redirect_uris.length === 0)
    faults.push({ field: 'redirect_uris', message: kind === 'device' ? 'a device has none' : 'must name at least one' })
  if (new Set(redirect_uris).size < redirect_uris.length)
    faults.push({ field: 'redirect_uris', message: 'names an address twice' })
  if (faults.length > 0) throw new InvalidInput(faults)
}

/** @throws {NotFound} */
async function knownClient(db: Db, id: string): Promise<Client> {
  const client = await clientById(db, id)
  if (!client) throw new NotFound('The app')
  return client
}

/** Why an app cannot be changed. */
async function refuseChange({ db }: Pick<Parts, 'db'>, id: string): Promise<never> {
  await knownClient(db, id)
  throw new Conflict('This app is shipped with the service and stays as it is.')
}

/** Apps that may sign users in, registered by staff. */
export function clientRoutes(app: App, parts: Pick<Parts, 'db' | 'revocations'>): void {
  const { db } = parts
  const config = { needs: 'oauth-clients:write' }
  const tags = ['Admin: apps']
  const note = (action: string, id: string, fields: readonly string[], actor: string, requestId: string) => ({
    actor,
    action: `oauth_client.${action}`,
    subject: { type: 'oauth_client', id },
    fields,
    requestId,
  })

  app.get(
    BASE,
    {
      config,
      schema: { tags, summary: 'Registered apps', querystring: PageQuery, response: { 200: listOf(ClientView) } },
    },
    async (req) => {
      const { rows, total } = await listClients(db, req.query)
      return listAnswer(req.url, req.query, total, rows)
    },
  )

  app.post(
    BASE,
    {
      config: { ...config, idempotent: true },
      schema: {
        tags,
        summary: 'Register an app',
        description:
          'Public apps without secret. `native`: http://127.0.0.1 or http://[::1] (any port), https, or a private scheme ' +
          'such as com.example.app:/callback. `web`: https. `device`: the device grant, no address.',
        body: z.strictObject({ client_id: ClientId, ...Wish }),
        response: { 201: ClientView, ...refusals },
      },
    },
    async (req, reply) => {
      const { client_id, ...wish } = req.body
      // Registered by an instance that died before it answered: the body is the same, so the name is.
      if (req.idempotency?.found) return reply.code(201).send(await knownClient(db, client_id))
      assertRedirects(wish)
      const client = await db.begin(async (tx) => {
        const made = await insertClient(tx, client_id, wish)
        if (!made) throw new Conflict('There is an app with this client_id.')
        await req.idempotency?.mark(tx, newId())
        await audit(tx, note('created', client_id, Object.keys(wish), principalOf(req).userId, req.id))
        return made
      })
      return reply.code(201).send(client)
    },
  )

  app.put(
    `${BASE}/:client_id`,
    {
      config,
      schema: {
        tags,
        summary: 'Change an app',
        params,
        body: z.strictObject(Wish),
        response: { 200: ClientView, ...refusals },
      },
    },
    async (req) => {
      const id = req.params.client_id
      assertRedirects(req.body)
      const changed = await db.begin(async (tx) => {
        const client = await updateClient(tx, id, req.body)
        if (client) await audit(tx, note('changed', id, Object.keys(req.body), principalOf(req).userId, req.id))
        return client
      })
      return changed ?? refuseChange(parts, id)
    },
  )

  app.delete(
    `${BASE}/:client_id`,
    {
      config,
      schema: { tags, summary: 'Remove an app; its sessions end', params, response: { 204: z.void(), ...refusals } },
    },
    async (req, reply) => {
      const id = req.params.client_id
      const ended = await db.begin(async (tx) => {
        const sessions = await endGrantsOfClient(tx, id)
        if ((await deleteClient(tx, id)).count === 0) await refuseChange(parts, id)
        await audit(tx, note('removed', id, [], principalOf(req).userId, req.id))
        return sessions
      })
      for (const session of ended) await parts.revocations.announce(session)
      return reply.code(204).send()
    },
  )
}
