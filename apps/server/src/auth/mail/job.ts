import { z } from 'zod'
import { credentialsByEmail, credentialsById, type Credentials } from '../../accounts/index.ts'
import type { Db } from '../../platform/db/index.ts'
import { enqueue } from '../../platform/jobs.ts'
import { renderMail, type Content } from '../../platform/mail/index.ts'
import type { Parts } from '../parts.ts'
import { contents } from './contents.ts'
import { isNotice, notice, NOTICES } from './notices.ts'
import { deleteMailToken, insertMailToken, mailedLately, wishedEmail, type TokenKind } from './store.ts'
import { codeMac, linkTokenHash, newCode, newLinkToken } from './tokens.ts'

export const MAIL_JOB = 'account-mail'

const Payload = z.object({
  kind: z.enum(['verify', 'reset', 'known', 'change_email', 'sign_in', ...NOTICES]),
  user_id: z.uuid(),
})
export type MailKind = z.infer<typeof Payload>['kind']

type Deps = Pick<Parts, 'db' | 'kv' | 'config' | 'secrets' | 'publicUrl' | 'mailer'>

const CODE_LIFE_S = 10 * 60
const LINK_LIFE_S = { verify: 24 * 3_600, change_email: 24 * 3_600, reset: 30 * 60, sign_in: CODE_LIFE_S }
/** New codes and links for one account and purpose in an hour; a further wish is dropped in silence. */
const PER_HOUR = 3
const HOUR_MS = 3_600_000

/**
 * Has a mail sent, in the caller's transaction. The job knows the account and the purpose alone: addresses are read and
 * tokens made when it runs.
 */
export async function sendLater(deps: Pick<Parts, 'mailer'>, db: Db, kind: MailKind, userId: string): Promise<void> {
  if (deps.mailer.kind === 'off') return
  await enqueue(db, MAIL_JOB, { kind, user_id: userId }, `${MAIL_JOB}:${kind}:${userId}`)
}

const send = (deps: Deps, userId: string, to: string, content: Content) =>
  deps.mailer.send(renderMail(to, deps.config.APP_NAME, content), userId)

/** Makes a token, mails it, and forgets it again when the mail could not be sent. */
async function sendToken(
  deps: Deps,
  userId: string,
  kind: TokenKind,
  email: string,
  content: (token: string, code: string) => Content,
): Promise<void> {
  if ((await mailedLately(deps.db, userId, kind)) >= PER_HOUR) return
  const token = newLinkToken()
  const hash = linkTokenHash(token)
  if (!hash) throw new Error('a fresh token is malformed')
  const code = newCode()
  const typed = kind === 'reset' ? null : { mac: codeMac(deps.secrets, userId, code), lifeSeconds: CODE_LIFE_S }
  await insertMailToken(deps.db, { hash, userId, kind, email, lifeSeconds: LINK_LIFE_S[kind], code: typed })
  try {
    await send(deps, userId, email, content(token, code))
  } catch (error) {
    await deleteMailToken(deps.db, hash)
    throw error
  }
}

/** Tells who has an address that somebody else wanted it; three an hour, since strangers choose how often. */
async function tellHolder(deps: Deps, holder: Credentials): Promise<void> {
  if (holder.email === null) return
  for (let n = 0; n < PER_HOUR; n++) {
    const key = `known-mail:${holder.id}:${n}`
    if (!(await deps.kv.setOnce(key, '1', HOUR_MS).catch(() => true))) continue
    try {
      return await send(deps, holder.id, holder.email, contents.known(deps.publicUrl))
    } catch (error) {
      await deps.kv.delete(key).catch(() => undefined)
      throw error
    }
  }
}

/** To the new address a proof, to the present one a notice; an address that is taken hears so instead. */
async function changeEmail(deps: Deps, account: Credentials): Promise<void> {
  const wish = await wishedEmail(deps.db, account.id)
  if (!wish) return
  const holder = await credentialsByEmail(deps.db, wish.email)
  if (holder && holder.id !== account.id) return tellHolder(deps, holder)
  await sendToken(deps, account.id, 'change_email', wish.email, (token, code) =>
    contents.changeEmail(deps.publicUrl, token, code),
  )
  if (account.email) await send(deps, account.id, account.email, contents.emailChangeAsked(deps.publicUrl))
}

/** The job itself. An account that is gone, inactive or has no address gets no mail. */
export const mailJob =
  (deps: Deps) =>
  async (payload: unknown): Promise<void> => {
    const { kind, user_id } = Payload.parse(payload)
    const account = await credentialsById(deps.db, user_id)
    if (!account?.is_active || account.email === null) return
    const { email } = account
    if (isNotice(kind)) return send(deps, user_id, email, notice(kind, deps.publicUrl))
    switch (kind) {
      case 'verify':
        if (account.is_verified) return
        return sendToken(deps, user_id, 'verify', email, (token, code) => contents.verify(deps.publicUrl, token, code))
      case 'reset':
        return sendToken(deps, user_id, 'reset', email, (token) => contents.reset(deps.publicUrl, token))
      case 'change_email':
        return changeEmail(deps, account)
      case 'known':
        return tellHolder(deps, account)
      case 'sign_in':
        return sendToken(deps, user_id, 'sign_in', email, (_token, code) => contents.signInCode(deps.publicUrl, code))
    }
  }
