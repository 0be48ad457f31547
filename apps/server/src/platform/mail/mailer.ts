import { isIP } from 'node:net'
import { createTransport } from 'nodemailer'
import type { Config } from '../config/index.ts'
import type { Sql } from '../db/index.ts'
import { JobFailure } from '../jobs.ts'
import type { Secrets } from '../secrets.ts'
import { putInOutbox } from './outbox.ts'

export type Mail = { to: string; subject: string; text: string; html: string }

/** Where mails go: an SMTP server, the local outbox of a trial, or nowhere (`MAIL=off`). */
export type Mailer = {
  kind: 'smtp' | 'outbox' | 'off'
  /**
   * @param userId the account it is for, with which a kept mail goes whatever address it went to; null: nobody's
   * @throws {JobFailure} the mail server does not take it: the job runs again; final when there is no such recipient
   */
  send(mail: Mail, userId: string | null): Promise<void>
  close(): void
}

const TIMEOUT_MS = 15_000

const isLocal = (host: string): boolean =>
  host === 'localhost' || host.endsWith('.localhost') || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))

/** Nothing goes in the clear to another machine, unless the operator's URL says `?ignoreTLS=true` (a relay beside us). */
function smtpOptions(smtpUrl: string) {
  const url = new URL(smtpUrl)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const secure = url.protocol === 'smtps:'
  const ignoreTLS = url.searchParams.get('ignoreTLS') === 'true'
  return {
    host,
    port: url.port === '' ? (secure ? 465 : 587) : Number(url.port),
    secure,
    ignoreTLS,
    requireTLS: !secure && !ignoreTLS && !isLocal(host),
    ...(url.username
      ? { auth: { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) } }
      : {}),
    connectionTimeout: TIMEOUT_MS,
    greetingTimeout: TIMEOUT_MS,
    socketTimeout: TIMEOUT_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  }
}

/** The sender: the host that links lead to, so that replies and checks of the domain fit. */
function senderOf(publicUrl: string, appName: string): { name: string; address: string } {
  const { hostname } = new URL(publicUrl)
  const domain = isIP(hostname.replace(/^\[|\]$/g, '')) === 0 ? hostname : 'localhost'
  return { name: appName, address: `no-reply@${domain}` }
}

/** What nodemailer tells of a refusal. Its message and `response` are the server's own text, which names the recipient. */
type Refusal = { code?: unknown; responseCode?: unknown; command?: unknown; response?: unknown }

/** A policy (5.7.x of RFC 3463: relaying, authentication) is the operator's to mend, and no fault of the address. */
const isPolicy = (response: unknown): boolean => typeof response === 'string' && /^5\d\d[ -]5\.7\.\d/.test(response)

/** A failure with the codes alone. A 5xx to RCPT is said of the address for good (RFC 5321, 4.2.1). */
function refused({ code, responseCode, command, response }: Refusal): JobFailure {
  const said = [code, responseCode, command].filter((part) => /^[A-Z0-9_ ]{1,40}$/.test(String(part))).join(', ')
  const final = command === 'RCPT TO' && Number(responseCode) >= 500 && !isPolicy(response)
  return new JobFailure(`The mail server did not take the mail (${said || 'no code'}).`, { final })
}

function smtpMailer(smtpUrl: string, from: { name: string; address: string }): Mailer {
  const transport = createTransport(smtpOptions(smtpUrl))
  return {
    kind: 'smtp',
    async send({ to, subject, text, html }) {
      // The address as an object is not parsed again: it is the one recipient, whatever it holds.
      const sent = transport.sendMail({ from, to: { name: '', address: to }, subject, text, html })
      await sent.catch((error: unknown) => {
        throw refused(Object(error) as Refusal)
      })
    },
    close: () => transport.close(),
  }
}

/** The mailer this configuration asks for. */
export function createMailer(
  config: Pick<Config, 'SMTP_URL' | 'MAIL' | 'APP_NAME'>,
  deps: { db: Sql; secrets: Secrets; publicUrl: string },
): Mailer {
  if (config.MAIL === 'off') return { kind: 'off', send: async () => undefined, close: () => undefined }
  if (config.SMTP_URL) return smtpMailer(config.SMTP_URL, senderOf(deps.publicUrl, config.APP_NAME))
  return { kind: 'outbox', send: (mail, userId) => putInOutbox(deps, mail, userId), close: () => undefined }
}
