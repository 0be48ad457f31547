import type { IncomingMessage } from 'node:http'
import type { Judge, Told } from './judge.ts'
import { ruleOf } from './hook.ts'

/** What the judge needs to know of a socket's route; undefined where there is none. */
export type UpgradeTarget = { path: string; rule?: string | undefined } | undefined

/**
 * Judges a WebSocket upgrade before it is answered: bans, floods, the address, and `WEBSOCKET` for the user whose token
 * holds. An open by ticket names its user only later: that room spends `WEBSOCKET` itself. A node's link has no limit, only
 * the flood ban: until its proof whoever opens one is a stranger.
 * @returns headers of the answer, whatever it will be
 */
export async function judgeUpgrade(judge: Judge, raw: IncomingMessage, target: UpgradeTarget): Promise<Told> {
  const rule = target ? ruleOf(target.rule ?? 'WEBSOCKET') : 'API'
  const call = { raw, rule, isPublic: false, route: target?.path ?? 'unknown', isUnknownRoute: !target, accounts: null }
  return rule === 'NODE_LINK' ? judge.judgeLink(call) : judge.judge(call)
}
