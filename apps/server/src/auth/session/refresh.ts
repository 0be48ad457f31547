import { Unauthenticated } from '../../platform/errors.ts'
import type { Tx } from '../../platform/db/index.ts'
import { failedProof } from '../failed-proof.ts'
import type { Parts } from '../parts.ts'
import { lifetimesOf } from './lifetimes.ts'
import type { TokenPair } from './open.ts'
import { newRefreshToken, refreshTokenHash } from './refresh-token.ts'
import { lockRefreshToken, revokeSession, rotateRefreshToken, type RefreshRow, type SessionKind } from './store.ts'

const PURPOSE = 'refresh-answer'

type Outcome =
  | { pair: TokenPair }
  /** `ended`: it was ours once, and comes too late; no attempt at anything. */
  | { refused: 'unknown' | 'ended' | 'replayed'; session?: { userId: string; sessionId: string } }

const refused = () => new Unauthenticated('The refresh token is not valid. Sign in again.')

/** The first use: a new pair, and the answer kept sealed so that only the old token opens it. */
async function rotate(parts: Parts, tx: Tx, token: string, hash: Buffer, row: RefreshRow): Promise<TokenPair> {
  const refresh = newRefreshToken()
  const next = refreshTokenHash(refresh)
  if (!next) throw new Error('a fresh refresh token is malformed')
  const access = await parts.tokens.issue({ userId: row.user_id, sessionId: row.session_id, role: row.role })
  const pair: TokenPair = {
    access_token: access.token,
    token_type: 'bearer',
    expires_in: access.expiresIn,
    refresh_token: refresh,
  }
  const answer = parts.secrets.seal(PURPOSE, row.session_id, Buffer.from(JSON.stringify(pair)), Buffer.from(token))
  const { idleSeconds } = lifetimesOf(row.role, parts.config)
  await rotateRefreshToken(tx, { hash, next, sessionId: row.session_id, answer, idleSeconds })
  return pair
}

async function judge(parts: Parts, tx: Tx, token: string, hash: Buffer, kind: SessionKind): Promise<Outcome> {
  const row = await lockRefreshToken(tx, hash)
  if (!row || row.kind !== kind) return { refused: 'unknown' }
  if (!row.alive) return { refused: 'ended' }
  if (!row.used) return { pair: await rotate(parts, tx, token, hash, row) }
  if (row.may_be_fetched_again && row.answer) {
    const answer = parts.secrets.open(PURPOSE, row.session_id, row.answer, Buffer.from(token))
    return { pair: JSON.parse(answer.toString()) as TokenPair }
  }
  await revokeSession(tx, row.session_id, row.user_id)
  return { refused: 'replayed', session: { userId: row.user_id, sessionId: row.session_id } }
}

/**
 * Changes a refresh token for a new pair, once. A lost answer may be fetched again for ten seconds while its successor is
 * unused; any other second use means that the token is in two hands, and ends the session.
 * @param kind the endpoint's family: elsewhere a token is refused and its family left alone
 * @throws {Unauthenticated}
 */
export async function refreshSession(parts: Parts, token: string, kind: SessionKind = 'token'): Promise<TokenPair> {
  const hash = refreshTokenHash(token)
  if (!hash) throw failedProof('secret', refused())
  const outcome = await parts.db.begin((tx) => judge(parts, tx, token, hash, kind))
  if ('pair' in outcome) return outcome.pair
  if (outcome.session) {
    parts.log.warn({ user_id: outcome.session.userId, session_id: outcome.session.sessionId }, 'refresh token replayed')
    await parts.revocations.announce(outcome.session)
  }
  throw outcome.refused === 'ended' ? refused() : failedProof('secret', refused())
}
