import type { IncomingMessage } from 'node:http'

/**
 * What a credential proves by itself, before any look-up: a signature or MAC that holds names a user; whether the session
 * lives is for others to say. `forged` is a failed attempt; an expired one, or one signed with a key we have lost, is not.
 */
export type Identity = { userId: string } | 'forged' | 'expired' | 'unknown-kid' | null

/** Reads the credential of a request (header, cookie, subprotocol, `?token=`). No database, no other machine. */
export type Identify = (req: IncomingMessage) => Identity | Promise<Identity>
