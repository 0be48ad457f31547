import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { Forbidden } from '../../platform/errors.ts'
import { Id, plainText, Time } from '../../platform/http/index.ts'
import { callerOf } from '../factor/prove.ts'
import { signInByCookie, signInByToken } from '../login.ts'
import type { Parts } from '../parts.ts'
import type { Proven } from '../prove.ts'

/** What every way to sign in shares: where the session goes, and how it answers. */
export const SignInQuery = z.strictObject({ session: z.enum(['cookie']).optional() })
type Query = z.infer<typeof SignInQuery>

export const DeviceName = plainText(1, 100)

export const TokenPair = {
  access_token: z.string(),
  token_type: z.literal('bearer'),
  expires_in: z.int().meta({ description: 'seconds' }),
  refresh_token: z.string(),
}
const Who = {
  user: z.object({
    id: Id,
    email: z.string().nullable(),
    role: z.string(),
    subscription_status: z.enum(['active', 'past_due', 'canceled']),
    subscription_expiry: Time.nullable(),
  }),
  password_change_required: z.boolean().optional(),
  factor_setup_required: z.boolean().optional(),
}
/** With a cookie the tokens are not there. */
export const SignedIn = z.object({ ...z.object(TokenPair).partial().shape, ...Who })

const LONGEST_CLIENT = 100

/** What the caller's program says it is, cut and without characters that do something to a terminal. */
const clientOf = (userAgent: string | undefined): string | null =>
  userAgent?.replace(/[^\x20-\x7e]/g, '').slice(0, LONGEST_CLIENT) || null

/** Another site's page must not sign its visitor in to an account of its choice. @throws {Forbidden} */
export function assertOwnPage(parts: Parts, req: FastifyRequest): void {
  if ((req.query as Query).session === 'cookie' && parts.cookies.isOwnOrigin(req.raw) === false)
    throw new Forbidden('This page may not sign you in.')
}

/** Opens the session that was asked for, for an account that has just proven itself. */
export async function signIn(
  parts: Parts,
  req: FastifyRequest,
  reply: FastifyReply,
  proven: Proven,
  deviceName: string | undefined,
): Promise<z.infer<typeof SignedIn>> {
  const shown = {
    deviceName: deviceName ?? null,
    client: clientOf(req.headers['user-agent']),
    country: parts.countryOf(req.raw),
  }
  if ((req.query as Query).session !== 'cookie') return signInByToken(parts, proven, shown, callerOf(req))
  const { cookie, body } = await signInByCookie(parts, proven, shown, callerOf(req))
  reply.header('set-cookie', cookie)
  return body
}
