import type { IncomingMessage } from 'node:http'
import { AppError } from '../platform/errors.ts'
import type { Parts } from './parts.ts'
import { looksLike, readSelfProving, type SelfProvingKind } from './self-proving.ts'
import { UnknownKey } from './token/access.ts'

/** What a credential proves by its signature alone; whether its session lives is not looked at. */
export type Identity = { userId: string } | 'forged' | 'expired' | 'unknown-kid' | null

const BEARER = /^Bearer +(\S+)$/i
const BEARER_PROTOCOL = /(?:^|,)\s*bearer\.([\w.-]+)\s*(?:,|$)/
/** Three parts: a ticket or another kind of secret in `?token=` is none of ours to judge. */
const QUERY_TOKEN = /[?&]token=([\w-]+\.[\w-]+\.[\w-]+)(?:&|$)/

/** The access token of a raw request: header, subprotocol of a socket, or `?token=` of old clients. */
function tokenIn({ headers, url }: IncomingMessage): string | undefined {
  if (headers.authorization !== undefined) return BEARER.exec(headers.authorization)?.[1]
  const offered = BEARER_PROTOCOL.exec(headers['sec-websocket-protocol'] ?? '')?.[1]
  return offered ?? QUERY_TOKEN.exec(url ?? '')?.[1]
}

type Deps = Pick<Parts, 'tokens' | 'secrets' | 'cookies'>

function identityOf(secrets: Deps['secrets'], kind: SelfProvingKind, text: string): Identity {
  const proven = readSelfProving(secrets, kind, text)
  return typeof proven === 'string' ? proven : { userId: proven.userId }
}

/** For limits, before any look-up: never for rights. Never throws. */
export async function identify({ tokens, secrets, cookies }: Deps, req: IncomingMessage): Promise<Identity> {
  const token = tokenIn(req)
  if (token === undefined) {
    const cookie = req.headers.authorization === undefined ? cookies.read(req) : undefined
    return cookie === undefined ? null : identityOf(secrets, 'cookie', cookie)
  }
  if (looksLike('api-token', token)) return identityOf(secrets, 'api-token', token)
  try {
    return { userId: (await tokens.verify(token)).sub }
  } catch (error) {
    if (error instanceof UnknownKey) return 'unknown-kid'
    return error instanceof AppError && error.code === 'TOKEN_EXPIRED' ? 'expired' : 'forged'
  }
}
