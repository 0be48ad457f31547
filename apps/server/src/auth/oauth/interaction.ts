import { timingSafeEqual } from 'node:crypto'
import type { InteractionResults, Provider } from 'oidc-provider'
import { credentialsById, isStaff, KnownEmail, type Credentials } from '../../accounts/index.ts'
import { AppError, Forbidden } from '../../platform/errors.ts'
import { newId } from '../../platform/ids.ts'
import { proveAccountNumber } from '../anonymous.ts'
import type { Caller } from '../factor/prove.ts'
import { dutiesOf } from '../login.ts'
import { PasswordText } from '../password/rules.ts'
import { proveAccount, wrongPassword, type Proven } from '../prove.ts'
import { lifetimesOf } from '../session/lifetimes.ts'
import { insertSession } from '../session/store.ts'
import { consumeArtifact, sha256 } from './artifact-store.ts'
import type { Form } from './forms.ts'
import { insertGrant } from './grant-store.ts'
import { resourceOf, type OAuthParts } from './provider.ts'

export type Interaction = Awaited<ReturnType<Provider['interactionDetails']>>

/** What a sign-in leaves for the consent that follows it. Kept sealed, for minutes. */
type Proof = { accountId: string; mark: string; factorProven: boolean }
type Missing = { missingOIDCScope?: string[]; missingResourceScopes?: Record<string, string[]> }

/** A token that belongs to one page under way: a form from elsewhere has none. */
export const csrfOf = (parts: OAuthParts, uid: string): string =>
  parts.secrets.mac('oauth-csrf', uid).toString('base64url')

/** @throws {Forbidden} */
export function assertCsrf(parts: OAuthParts, uid: string, given: string | undefined): void {
  const [due, sent] = [Buffer.from(csrfOf(parts, uid)), Buffer.from(given ?? '')]
  if (due.length !== sent.length || !timingSafeEqual(due, sent))
    throw new Forbidden('This form is not from our page, or the page has expired. Go back to the app and begin again.')
}

/** Stands for the account as it was judged: another password or role since then opens nothing. */
const accountMark = (parts: OAuthParts, { id, role, hashed_password }: Credentials): string =>
  parts.secrets.mac('oauth-proof', `${id} ${role} ${hashed_password ?? ''}`).toString('base64url')

/** By account number where that field is filled, else by e-mail and password. */
function prove(parts: OAuthParts, form: Form, caller: Caller): Promise<Proven> {
  const totp = form.totp?.trim() || null
  const accountNumber = form.account_number?.trim() ?? ''
  if (accountNumber !== '') return proveAccountNumber(parts, { accountNumber, totp }, caller)
  const email = KnownEmail.safeParse((form.email ?? '').trim())
  const password = PasswordText.safeParse(form.password)
  if (!email.success || !password.success) throw wrongPassword()
  return proveAccount(parts, { email: email.data, password: password.data, totp }, caller)
}

/**
 * Signs a person in for an app, by the same judgement as every sign-in by password.
 * @throws as `proveAccount` {Forbidden} the account has a duty to do first
 */
export async function signInForApp(parts: OAuthParts, form: Form, caller: Caller): Promise<InteractionResults> {
  const proven = await prove(parts, form, caller)
  const duties = await dutiesOf(parts, proven)
  if (duties.password_change_required) throw new Forbidden('Change your password first: sign in to the web app.')
  if (duties.factor_setup_required) throw new Forbidden('Set up a second factor first: sign in to the web app.')
  const { account, factorProven } = proven
  const proof: Proof = { accountId: account.id, mark: accountMark(parts, account), factorProven }
  return { login: { ...proof, remember: false, amr: factorProven ? ['pwd', 'otp', 'mfa'] : ['pwd'] } }
}

/** The account that signed in for this page, if it is still as it was. */
async function signedIn(parts: OAuthParts, { lastSubmission, session }: Interaction) {
  const proof = lastSubmission?.login as Proof | undefined
  if (!proof || session?.accountId !== proof.accountId) return undefined
  const account = await credentialsById(parts.db, proof.accountId)
  if (!account?.is_active || accountMark(parts, account) !== proof.mark) return undefined
  return { account, factorProven: proof.factorProven }
}

export type Asked = { account: Credentials; factorProven: boolean; oidc: string[]; api: string[]; refused: string[] }

/**
 * What the page of consent shows and grants: what was asked, less what the account cannot give.
 * @throws {Forbidden} the sign-in before it counts no more
 */
export async function askedOf(parts: OAuthParts, interaction: Interaction): Promise<Asked> {
  const who = await signedIn(parts, interaction)
  if (!who) throw new Forbidden('The sign-in has expired. Go back to the app and begin again.')
  const { missingOIDCScope = [], missingResourceScopes = {} } = interaction.prompt.details as Missing
  const wanted = missingResourceScopes[resourceOf(parts.publicUrl)] ?? []
  // In production the power of staff takes a second factor, proven just now.
  const staff = isStaff(who.account.role) && (who.factorProven || !parts.config.production)
  const mayGive = (scope: string): boolean => scope !== 'staff' || staff
  return {
    ...who,
    oidc: missingOIDCScope,
    api: wanted.filter(mayGive),
    refused: wanted.filter((scope) => !mayGive(scope)),
  }
}

/**
 * Gives an app what was shown: a grant, and the session that it lives and ends with. Once for each page.
 * @returns undefined when the form was sent before
 * @throws {Forbidden} the account was changed meanwhile
 */
export async function giveConsent(
  parts: OAuthParts,
  provider: Provider,
  interaction: Interaction,
  shown: { clientId: string; clientName: string; client: string | null; country: string | null },
): Promise<InteractionResults | undefined> {
  const asked = await askedOf(parts, interaction)
  if (!(await consumeArtifact(parts.db, 'Interaction', sha256(interaction.uid)))) return undefined
  const { account, factorProven } = asked
  const grant = new provider.Grant({ accountId: account.id, clientId: shown.clientId })
  const resource = resourceOf(parts.publicUrl)
  if (asked.oidc.length > 0) grant.addOIDCScope(asked.oidc.join(' '))
  if (asked.api.length > 0) grant.addResourceScope(resource, asked.api.join(' '))
  if (asked.refused.length > 0) grant.rejectResourceScope(resource, asked.refused.join(' '))
  const grantId = await grant.save()
  const sessionId = newId()
  const opened = await parts.db.begin(async (tx) => {
    const made = await insertSession(tx, {
      id: sessionId,
      userId: account.id,
      role: account.role,
      kind: 'oauth',
      deviceName: shown.clientName,
      client: shown.client,
      country: shown.country,
      mustChangePassword: false,
      hashedPassword: account.hashed_password,
      factorProven,
      production: parts.config.production,
      ...lifetimesOf(account.role, parts.config),
    })
    if (made) await insertGrant(tx, sha256(grantId), sessionId, shown.clientId)
    return made
  })
  if (!opened) {
    await grant.destroy()
    throw new Forbidden('Your account was changed meanwhile. Go back to the app and begin again.')
  }
  parts.log.info({ user_id: account.id, client_id: shown.clientId }, 'app allowed')
  return { consent: { grantId } }
}

export const DENIED: InteractionResults = {
  error: 'access_denied',
  error_description: 'the End-User did not allow it',
}

/** What a person may read of a failed sign-in; undefined for faults that are no answer to a form. */
export const messageOf = (error: unknown): string | undefined =>
  error instanceof AppError && error.code !== 'INTERNAL' ? error.message : undefined
