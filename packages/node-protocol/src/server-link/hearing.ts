import type { Counters, NodeMessage } from '../messages.ts'
import { PROTOCOL_VERSION } from '../messages.ts'
import { close, type LinkTurn } from './state.ts'
import { type Acknowledged, CLOSE, type LinkEvent } from './types.ts'

type Applied = Extract<NodeMessage, { type: 'applied' }>

/** Takes a message of the node. Before the proof only `auth` is heard, after it everything else. */
export function takeNodeMessage(turn: LinkTurn, message: NodeMessage): void {
  const { link, effects, now } = turn
  if (message.type === 'auth') return takeAuth(turn, message)
  if (link.phase !== 'linked') return close(turn, CLOSE.protocol, `${message.type} before the proof`)
  switch (message.type) {
    case 'applied':
      return takeApplied(turn, message)
    case 'report':
      effects.push({ type: 'counters', seq: message.seq, at: message.at, peers: message.peers })
      return
    case 'resync':
      link.wanted.full = true
      link.lastProgressAt = now
      effects.push({ type: 'warn', code: 'resync', detail: message.reason })
      return
    case 'health': {
      const { type: _, ...health } = message
      effects.push({ type: 'health', health })
      return
    }
    case 'new_key':
      effects.push({ type: 'new_key', public_key: message.public_key })
      return
    case 'exits':
      effects.push({ type: 'exits', addresses: message.addresses })
  }
}

/** The node has proved who it is: welcome it and tell what it missed. */
export function verified(turn: LinkTurn, event: Extract<LinkEvent, { type: 'verified' }>): void {
  const { link, effects, now } = turn
  if (link.phase !== 'verifying' || !link.auth) return
  link.phase = 'linked'
  link.lastSafetyAt = now
  link.lastProgressAt = now
  link.watch = event.watch
  const { installation } = link.options
  effects.push({ type: 'linked', agent: link.auth.agent })
  effects.push({ type: 'send', message: { type: 'welcome', installation, config: event.config } })
  if (event.watch.length > 0) effects.push({ type: 'send', message: { type: 'watch', slots: [...event.watch] } })
  const { resume } = link.auth
  if (resume?.installation !== installation) {
    link.wanted.full = true
    return
  }
  link.acked = BigInt(resume.revision)
  link.told = link.acked
  link.horizon = link.acked
  link.wanted.fresh = true
  effects.push({ type: 'complete', revision: resume.revision })
}

/** The node may not be linked. */
export function refused(turn: LinkTurn, event: Extract<LinkEvent, { type: 'refused' }>): void {
  if (turn.link.phase !== 'verifying') return
  if (event.dismissed) turn.effects.push({ type: 'send', message: { type: 'dismissed', reason: event.reason } })
  close(turn, CLOSE.unauthorized, event.reason)
}

function takeAuth(turn: LinkTurn, auth: Extract<NodeMessage, { type: 'auth' }>): void {
  const { link, effects } = turn
  if (link.phase !== 'challenged') return close(turn, CLOSE.protocol, 'unexpected proof')
  if (auth.version !== PROTOCOL_VERSION) return close(turn, CLOSE.protocol, 'no common protocol version')
  link.phase = 'verifying'
  link.auth = auth
  effects.push({ type: 'verify', auth, nonce: link.nonce })
}

/** Final counters go before the acknowledgement, so that a lease never rests with its totals unwritten. */
function takeApplied(turn: LinkTurn, applied: Applied): void {
  const { link, effects, now } = turn
  const finals: Counters[] = []
  const done: Acknowledged[] = []
  const failed: { slot: number; version: number; error: string }[] = []
  for (const { slot, version, ok, held, error, final } of applied.slots) {
    if (final) finals.push(final)
    if (!ok) {
      failed.push({ slot, version, error: error ?? 'failed' })
      continue
    }
    done.push({ slot, version, held })
    if (version >= (link.outstanding.get(slot)?.version ?? Infinity)) link.outstanding.delete(slot)
  }
  link.lastProgressAt = now
  if (finals.length > 0) effects.push({ type: 'counters', seq: null, at: null, peers: finals })
  if (done.length > 0) effects.push({ type: 'acknowledged', slots: done })
  if (failed.length > 0) effects.push({ type: 'failed', slots: failed })
  moveHorizon(turn, BigInt(applied.revision))
}

function moveHorizon({ link, effects }: LinkTurn, revision: bigint): void {
  // Past what this link told: an earlier link told it and the kernel finished since the proof. It is said again with
  // the answer to the greeting.
  if (revision > link.told || revision <= link.acked) return
  link.acked = revision
  // Not what was told at this very horizon: it may lie above it, and its message may still be on its way.
  for (const [slot, waiting] of link.outstanding) if (waiting.revision < revision) link.outstanding.delete(slot)
  effects.push({ type: 'complete', revision: String(revision) })
}
