import { z } from 'zod'
import { accountById } from '../accounts/index.ts'
import type { Db } from '../platform/db/index.ts'
import { enqueue } from '../platform/jobs.ts'
import { renderMail, type Content } from '../platform/mail/index.ts'
import type { Parts } from './parts.ts'

export const MAIL_JOB = 'billing.mail'

const Payload = z.object({
  kind: z.enum([
    'receipt',
    'refunded',
    'duplicate',
    'payment_failed',
    'payment_reminder',
    'not_paid',
    'shrunk',
    'ended',
  ]),
  user_id: z.uuid(),
  /** An amount as people read it, a day, a plan's name. */
  amount: z.string().optional(),
  day: z.string().optional(),
  plan: z.string().optional(),
  /** What a changed plan allows, and how many connections it ended. */
  limits: z.object({ ended: z.number(), devices: z.number(), connections: z.number() }).optional(),
})
export type Notice = z.infer<typeof Payload>

const dayText = (day: Date): string => day.toISOString().slice(0, 10)

/** A point in time for a mail: its day, in UTC. */
export const mailDay = dayText

const counted = (count = 0, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`

const billingPage = (publicUrl: string): { label: string; url: string } => ({
  label: 'Your plan and payments',
  url: `${publicUrl}/app/billing`,
})

/** The texts. They hold an amount, a day and a plan's name, nothing of the account. */
function contentOf({ kind, amount = '', day = '', plan = '', limits }: Notice, publicUrl: string): Content {
  const link = billingPage(publicUrl)
  switch (kind) {
    case 'receipt':
      return {
        subject: 'Your receipt',
        paragraphs: [`Thank you. We received ${amount} on ${day}${plan ? ` for ${plan}` : ''}.`],
        link,
      }
    case 'refunded':
      return {
        subject: 'Your refund',
        paragraphs: [`We gave ${amount} back to your card. Your bank shows it within some days.`],
        link,
      }
    case 'duplicate':
      return {
        subject: 'A second payment was refunded',
        paragraphs: [
          `You already had a plan, so we cancelled the second one${amount ? ` and gave ${amount} back to your card` : ''}.`,
        ],
        link,
      }
    case 'payment_failed':
      return {
        subject: 'Your payment failed',
        paragraphs: [
          `Your plan could not be renewed: the payment was not accepted. It goes on until ${day}.`,
          'Please pay or choose another card; then it simply continues.',
        ],
        link,
      }
    case 'not_paid':
      return {
        subject: 'Your payment did not arrive',
        paragraphs: [
          'Your bank did not pay what you ordered, so no plan was started and nothing is owed. You can order again at any time.',
        ],
        link,
      }
    case 'payment_reminder':
      return {
        subject: 'Your plan ends soon',
        paragraphs: [
          `The payment for your plan is still missing. Without it your plan ends on ${day}; your account and devices stay.`,
        ],
        link,
      }
    case 'shrunk':
      return {
        subject: 'Your plan has changed',
        paragraphs: [
          `Your plan is now ${plan}: ${counted(limits?.connections, 'connection')} at a time, ${counted(limits?.devices, 'device')}.`,
          `What went beyond was ended, the oldest first: ${counted(limits?.ended, 'connection')}. Your devices stay; any of them can connect while there is room.`,
        ],
        link,
      }
    case 'ended':
      return {
        subject: 'Your plan has ended',
        paragraphs: [
          'Your plan has ended and your account is on the free plan. Connections that it does not allow were ended, the oldest first.',
          'Your account, devices and settings stay as they are.',
        ],
        link,
      }
  }
}

/**
 * Has a mail sent once for its cause, in the caller's transaction.
 * @param cause names it, e.g. `receipt:<payment>`; a second notice of the same cause is dropped
 */
export async function notify(parts: Pick<Parts, 'mailer'>, tx: Db, cause: string, notice: Notice): Promise<void> {
  if (parts.mailer.kind === 'off') return
  const noted = await tx`insert into billing_notices (key) values (${cause}) on conflict do nothing`
  if (noted.count === 1) await enqueue(tx, MAIL_JOB, notice)
}

/** The job: an account that is gone or has no address gets no mail. */
export const mailJob =
  (parts: Parts) =>
  async (payload: unknown): Promise<void> => {
    const notice = Payload.parse(payload)
    const account = await accountById(parts.db, notice.user_id)
    if (!account?.email) return
    const mail = renderMail(account.email, parts.config.APP_NAME, contentOf(notice, parts.publicUrl))
    await parts.mailer.send(mail, account.id)
  }
