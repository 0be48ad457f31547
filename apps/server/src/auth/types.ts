/** A session that may be used no more; `sessionId` null when all sessions of the account ended. */
export type Revocation = { userId: string; sessionId: string | null }
