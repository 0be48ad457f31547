import { z } from 'zod'
import { audit } from '../../platform/audit.ts'
import { NotFound } from '../../platform/errors.ts'
import type { App } from '../../platform/http/index.ts'
import { STEPS } from '../adaptive/adaptive.ts'
import { parseAddress, type Address } from '../address/address.ts'
import { limitText } from '../limit-text.ts'
import { isRuleName, KEYS_OF, RULES, type RuleName } from '../rules.ts'
import { standingsOf, wishesAt } from '../status.ts'
import type { AdminProtectionDeps } from './deps.ts'
import { forget } from './forget.ts'
import { ConfigView, EndpointQuery, IpParam, missing, refused, RuleState, Stats, tags } from './schemas.ts'

const base = '/api/v1/admin/rate-limits'

const addressIn = (text: string): Address => {
  const address = parseAddress(text)
  if (!address) throw new NotFound('The address')
  return address
}
const rulesIn = (endpoint: string | undefined): readonly RuleName[] => {
  const name = endpoint?.toUpperCase()
  return name !== undefined && isRuleName(name) ? [name] : RULES
}

/** Counters, limits, and how they stand for an address. */
export function limitRoutes(app: App, { protection, db, callerOf }: AdminProtectionDeps): void {
  const { state } = protection
  const since = new Date()

  app.get(
    `${base}/stats`,
    {
      config: { needs: 'dashboard:read' },
      schema: { tags, summary: 'What this instance refused, and what that cost', response: { 200: Stats, ...refused } },
    },
    async () => {
      const { violations, adaptive, config, suspicion, bans, global } = state
      const { total, by_rule, ...rest } = violations.stats()
      return {
        since,
        limits_shared: protection.shared(),
        violations: { total, by_rule },
        failed_attempts: Object.fromEntries(suspicion.counted),
        ...rest,
        bans: { active: bans.size },
        global: { anonymous_last_minute: global.sum, limit: config.globalPerMinute },
        adaptive: {
          enabled: adaptive.enabled,
          step: adaptive.step,
          factors: { anonymous: 1, free: 1, premium: 1, ...STEPS[adaptive.step] },
        },
        unknown_proxy_seen: suspicion.sawUnknownProxy,
      }
    },
  )

  app.get(
    `${base}/config`,
    {
      config: { needs: 'limits:write' },
      schema: { tags, summary: 'The limits in use', response: { 200: ConfigView, ...refused } },
    },
    async () => {
      const { config } = state
      return {
        rate_limit_enabled: config.limitsEnabled,
        ddos_protection_enabled: config.ddosEnabled,
        adaptive_throttling: config.adaptive,
        rules: RULES.map((rule) => ({
          rule,
          endpoint: rule.toLowerCase(),
          limit: config.limits[rule].limit,
          burst: config.limits[rule].burst,
          window_seconds: config.limits[rule].windowMs / 1_000,
          text: limitText(config.limits[rule]),
          keys: [...KEYS_OF[rule]],
        })),
        global_per_minute: config.globalPerMinute,
        auth_account_failures: config.accountFailures,
        ddos: { threshold_per_minute: config.ddos.perMinute, ban_seconds: config.ddos.banSeconds },
        suspicious_activity: {
          threshold: config.suspicious.threshold,
          window_seconds: config.suspicious.windowSeconds,
          ban_seconds: config.suspicious.banSeconds,
        },
        countries: { allow: [...config.geo.allow], deny: [...config.geo.deny] },
      }
    },
  )

  app.get(
    `${base}/status/:ip`,
    {
      config: { needs: 'limits:write' },
      schema: {
        tags,
        summary: 'How each rule stands for an address',
        params: IpParam,
        querystring: EndpointQuery,
        response: {
          200: z.object({
            ip: z.string(),
            banned: z.boolean(),
            ban_seconds_left: z.int(),
            banned_block: z.string().nullable().meta({ description: 'the address or network whose ban holds it' }),
            listed: z.boolean(),
            rules: z.array(RuleState),
          }),
          ...missing,
        },
      },
    },
    async (req) => standingsOf(state, addressIn(req.params.ip), rulesIn(req.query.endpoint)),
  )

  app.delete(
    `${base}/reset/:ip`,
    {
      config: { needs: 'limits:write' },
      schema: {
        tags,
        summary: 'Forget what was counted for an address, its failed attempts too',
        params: IpParam,
        querystring: EndpointQuery,
        response: { 204: z.null(), ...missing },
      },
    },
    async (req, reply) => {
      const address = addressIn(req.params.ip)
      const wishes = wishesAt(state, address, rulesIn(req.query.endpoint)).map(({ wish }) => wish)
      // No address in the audit log: who, what and when.
      await audit(db, {
        actor: callerOf(req).userId,
        action: 'rate_limit.reset',
        subject: { type: 'rate_limit', id: req.query.endpoint ?? 'all' },
        requestId: req.id,
      })
      await forget(protection, [...wishes, state.suspicion.attemptsOf(state.ids.ofAddress(address))])
      return reply.code(204).send(null)
    },
  )
}
