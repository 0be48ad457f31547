import type { Limit, Standing } from './limiter/limiter.ts'
import { seconds } from './refusals.ts'

const policies = new WeakMap<Limit, Map<string, string>>()

/** `"api";q=80;w=60` (draft-ietf-httpapi-ratelimit-headers). */
function policyOf(rule: string, limit: Limit): string {
  let byRule = policies.get(limit)
  if (!byRule) policies.set(limit, (byRule = new Map()))
  let text = byRule.get(rule)
  if (text === undefined) {
    text = `"${rule.toLowerCase()}";q=${limit.limit + limit.burst};w=${limit.windowMs / 1000}`
    byRule.set(rule, text)
  }
  return text
}

/** The headers of a limited answer. `Reset` is when one more request than now is admitted; waiting so long succeeds. */
export function toldHeaders(rule: string, limit: Limit, standing: Standing): Record<string, string> {
  const remaining = String(standing.remaining)
  const reset = String(standing.resetMs === 0 ? 0 : seconds(standing.resetMs))
  return {
    'x-ratelimit-limit': String(limit.limit + limit.burst),
    'x-ratelimit-remaining': remaining,
    'x-ratelimit-reset': reset,
    'ratelimit-policy': policyOf(rule, limit),
    ratelimit: `"${rule.toLowerCase()}";r=${remaining};t=${reset}`,
  }
}
