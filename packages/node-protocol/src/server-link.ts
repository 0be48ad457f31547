import { PROTOCOL_VERSION } from './messages.ts'
import { refused, takeNodeMessage, verified } from './server-link/hearing.ts'
import { close, type LinkTurn } from './server-link/state.ts'
import { readFailed, readNext, takeRows } from './server-link/telling.ts'
import { CLOSE, type LinkEffect, type LinkEvent, type LinkState } from './server-link/types.ts'

export { createLink, LINK_DEFAULTS } from './server-link/state.ts'
export { CLOSE } from './server-link/types.ts'
export type { Acknowledged, LinkEffect, LinkEvent, LinkOptions, LinkState } from './server-link/types.ts'

/**
 * One step of a node's link on the server: no clock, socket, database or chance in here. Deterministic; the state is
 * taken over and changed, so keep only the one that comes back.
 * @param now monotonic ms
 */
export function linkStep(
  link: LinkState,
  event: LinkEvent,
  now: number,
): { state: LinkState; effects: readonly LinkEffect[] } {
  if (link.phase === 'closed') return { state: link, effects: [] }
  const turn: LinkTurn = { link, now, effects: [] }
  take(turn, event)
  readNext(turn)
  return { state: link, effects: turn.effects }
}

function take(turn: LinkTurn, event: LinkEvent): void {
  const { link, effects } = turn
  switch (event.type) {
    case 'opened':
      return opened(turn, event.nonce)
    case 'message':
      return takeNodeMessage(turn, event.message)
    case 'invalid':
      return close(turn, CLOSE.protocol, event.error)
    case 'verified':
      return verified(turn, event)
    case 'refused':
      return refused(turn, event)
    case 'rows':
      return takeRows(turn, event)
    case 'read_failed':
      return readFailed(turn)
    case 'woken':
      link.wanted.fresh = true
      return
    case 'config':
      if (link.phase === 'linked') effects.push({ type: 'send', message: { type: 'config', config: event.config } })
      return
    case 'watch':
      return watch(turn, event.slots)
    case 'rotate_key':
      if (link.phase === 'linked') effects.push({ type: 'send', message: { type: 'rotate_key' } })
      return
    case 'dismissed':
      effects.push({ type: 'send', message: { type: 'dismissed', reason: event.reason } })
      return close(turn, CLOSE.replaced, event.reason)
    case 'counted':
      if (link.phase === 'linked') effects.push({ type: 'send', message: { type: 'counted', seq: event.seq } })
      return
    case 'tick':
      return tick(turn, event.buffered)
    case 'end':
      return close(turn, event.code, event.reason)
    case 'closed':
      link.phase = 'closed'
  }
}

function opened({ link, now, effects }: LinkTurn, nonce: string): void {
  if (link.phase !== 'new') return
  link.phase = 'challenged'
  link.openedAt = now
  link.nonce = nonce
  const { installation } = link.options
  effects.push({ type: 'send', message: { type: 'challenge', nonce, installation, versions: [PROTOCOL_VERSION] } })
}

function watch({ link, effects }: LinkTurn, slots: readonly number[]): void {
  const same = slots.length === link.watch.length && slots.every((slot, index) => slot === link.watch[index])
  if (link.phase !== 'linked' || same) return
  link.watch = slots
  effects.push({ type: 'send', message: { type: 'watch', slots: [...slots] } })
}

/** Ends links that do not move, and sees to it that everything is told again in time. */
function tick(turn: LinkTurn, buffered: number): void {
  const { link, now } = turn
  const { options } = link
  link.buffered = buffered
  if (link.phase !== 'linked') {
    if (link.phase !== 'new' && now - link.openedAt >= options.authMs)
      close(turn, CLOSE.auth_timeout, 'no proof in time')
    return
  }
  link.fullSince = buffered > options.maxBuffered ? (link.fullSince ?? now) : null
  if (link.fullSince !== null && now - link.fullSince >= options.stallMs)
    return close(turn, CLOSE.too_slow, 'reads too slowly')
  if (link.outstanding.size > 0 && now - link.lastProgressAt >= options.stallMs)
    return close(turn, CLOSE.too_slow, 'acknowledges nothing')
  if (link.reading && now - link.reading.at >= options.stallMs) return close(turn, CLOSE.internal, 'cannot read')
  if (now - link.lastSafetyAt >= safetyAfter(turn)) link.wanted.safety = true
}

/** Sooner when something told is overdue. */
function safetyAfter({ link, now }: LinkTurn): number {
  const { resendMs, safetyMs } = link.options
  for (const { toldAt } of link.outstanding.values()) if (now - toldAt >= resendMs) return resendMs
  return safetyMs
}
