import { BlockList, isIP } from 'node:net'
import { z } from 'zod'
import type { Config } from '../config/index.ts'
import type { Db } from '../db/index.ts'
import { ErrorBody, Id, listAnswer, listOf, PageQuery, Time, type App } from '../http/index.ts'
import type { Secrets } from '../secrets.ts'
import { readOutbox } from './outbox.ts'

const OutboxMail = z.object({
  id: Id,
  to: z.string(),
  subject: z.string(),
  text: z.string(),
  html: z.string(),
  created_at: Time,
})

const near = new BlockList()
near.addSubnet('127.0.0.0', 8)
near.addSubnet('10.0.0.0', 8)
near.addSubnet('172.16.0.0', 12)
near.addSubnet('192.168.0.0', 16)
near.addAddress('::1', 'ipv6')
near.addSubnet('fc00::', 7, 'ipv6')
near.addSubnet('fe80::', 10, 'ipv6')

/** True for loopback and private addresses and the names that mean this machine. */
function isNear(publicUrl: string): boolean {
  const host = new URL(publicUrl).hostname.replace(/^\[|\]$/g, '')
  const family = isIP(host)
  if (family === 0) return host === 'localhost' || host.endsWith('.localhost')
  return near.check(host, family === 6 ? 'ipv6' : 'ipv4')
}

/** The outbox is for trials: never in production, beside a mail server, or where strangers reach us. */
export const outboxIsReadable = (
  config: Pick<Config, 'SMTP_URL' | 'MAIL' | 'production'>,
  publicUrl: string,
): boolean => !config.production && !config.SMTP_URL && config.MAIL === 'on' && isNear(publicUrl)

/** Staff's view of mails that went nowhere. Where it may not be read the path does not exist. */
export function mailOutboxRoutes(
  app: App,
  deps: {
    db: Db
    secrets: Secrets
    config: Pick<Config, 'SMTP_URL' | 'MAIL' | 'production'>
    publicUrl: string
  },
): void {
  if (!outboxIsReadable(deps.config, deps.publicUrl)) return
  app.get(
    '/api/v1/admin/mail-outbox',
    {
      config: { needs: 'mail:read' },
      schema: {
        tags: ['admin'],
        summary: 'Mails of an installation without SMTP',
        description:
          'Only without `SMTP_URL`, not in production, and where `PUBLIC_URL` is loopback or private. Kept 24 h.',
        querystring: PageQuery.extend({ to: z.string().max(508).optional() }),
        response: { 200: listOf(OutboxMail), 403: ErrorBody },
      },
    },
    async (req) => {
      const { to, ...page } = req.query
      const { mails, total } = await readOutbox(deps, page, to)
      return listAnswer(req.url, page, total, mails)
    },
  )
}
