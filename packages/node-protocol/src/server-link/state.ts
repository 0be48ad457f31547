import type { LinkEffect, LinkOptions, LinkState } from './types.ts'

const MIB = 1024 * 1024

/** The limits of a link unless others are asked for. */
export const LINK_DEFAULTS: Omit<LinkOptions, 'installation'> = {
  maxBuffered: 8 * MIB,
  resendMs: 10_000,
  stallMs: 30_000,
  safetyMs: 60_000,
  authMs: 10_000,
  snapshotEveryMs: 5000,
}

/** A link before its socket is open. */
export function createLink(options: Partial<LinkOptions> & Pick<LinkOptions, 'installation'>): LinkState {
  return {
    options: { ...LINK_DEFAULTS, ...options },
    phase: 'new',
    nonce: '',
    openedAt: 0,
    auth: null,
    told: 0n,
    acked: 0n,
    horizon: 0n,
    versions: new Map(),
    outstanding: new Map(),
    reading: undefined,
    wanted: { full: false, fresh: false, safety: false },
    greeted: false,
    lastFullAt: -Infinity,
    lastSafetyAt: 0,
    lastProgressAt: 0,
    retryAt: 0,
    buffered: 0,
    fullSince: null,
    watch: [],
  }
}

/** One step under way. `now` is monotonic ms. */
export interface LinkTurn {
  readonly link: LinkState
  readonly now: number
  readonly effects: LinkEffect[]
}

/** Ends the link. Nothing is lost: the node comes back and resumes from its revision. */
export function close(turn: LinkTurn, code: number, reason: string): void {
  if (turn.link.phase === 'closed') return
  turn.link.phase = 'closed'
  turn.effects.push({ type: 'close', code, reason })
}
