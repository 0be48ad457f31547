import { z } from 'zod'
import type { Db } from '../db/index.ts'
import { newId } from '../ids.ts'
import type { Page } from '../http/index.ts'
import type { Secrets } from '../secrets.ts'
import type { Mail } from './mailer.ts'

const PURPOSE = 'mail-outbox'
const KEPT_HOURS = 24

const SealedMail = z.object({ to: z.string(), subject: z.string(), text: z.string(), html: z.string() })

type Deps = { db: Db; secrets: Secrets }
export type KeptMail = Mail & { id: string; created_at: Date }

const macOf = (secrets: Secrets, to: string): Buffer => secrets.mac(PURPOSE, to.trim().toLowerCase())

/**
 * Keeps a mail that no server takes, sealed: whoever reads the database alone learns neither address nor token.
 * @param userId the account it is for; it goes with it
 */
export async function putInOutbox({ db, secrets }: Deps, mail: Mail, userId: string | null): Promise<void> {
  const id = newId()
  const sealed = secrets.seal(PURPOSE, id, Buffer.from(JSON.stringify(mail)))
  await db`
    insert into mail_outbox (id, user_id, to_mac, sealed) values (${id}, ${userId}, ${macOf(secrets, mail.to)}, ${sealed})`
}

/** Newest first. @param to only those to this address */
export async function readOutbox(
  { db, secrets }: Deps,
  page: Page,
  to?: string,
): Promise<{ mails: KeptMail[]; total: number }> {
  const mac = to === undefined ? null : macOf(secrets, to)
  const rows = await db<{ id: string; sealed: Buffer; created_at: Date }[]>`
    select id, sealed, created_at from mail_outbox
     where (${mac}::bytea is null or to_mac = ${mac}) and created_at > clock_timestamp() - make_interval(hours => ${KEPT_HOURS})
     order by created_at desc, id desc limit ${page.per_page} offset ${(page.page - 1) * page.per_page}`
  const [{ total } = { total: 0n }] = await db<{ total: bigint }[]>`
    select count(*) as total from mail_outbox
     where (${mac}::bytea is null or to_mac = ${mac}) and created_at > clock_timestamp() - make_interval(hours => ${KEPT_HOURS})`
  const mails = rows.map(({ id, sealed, created_at }) => ({
    id,
    created_at,
    ...SealedMail.parse(JSON.parse(secrets.open(PURPOSE, id, sealed).toString())),
  }))
  return { mails, total: Number(total) }
}

/** Mails older than a day go; safe to run twice. */
export const sweepOutbox = async (db: Db): Promise<void> => {
  await db`delete from mail_outbox where created_at < clock_timestamp() - make_interval(hours => ${KEPT_HOURS})`
}
