import { z } from 'zod'
import { ErrorBody, plainText, Time } from '../../platform/http/index.ts'
import { parseAddress, parseNetwork } from '../address/address.ts'
import { isRuleName } from '../rules.ts'

export const tags = ['admin: protection']
export const refused = { 400: ErrorBody, 401: ErrorBody, 403: ErrorBody }
export const missing = { ...refused, 404: ErrorBody }

const DEFAULT_BAN_S = 3_600
const MAX_BAN_S = 10 * 366 * 86_400

export const IpParam = z.strictObject({
  ip: z
    .string()
    .max(64)
    .refine((text) => parseAddress(text) !== null),
})
export const NetworkParam = z.strictObject({
  ip: z
    .string()
    .max(64)
    .refine((text) => parseNetwork(text) !== null),
})
export const EndpointQuery = z.strictObject({
  endpoint: z
    .string()
    .refine((text) => text === text.toLowerCase() && isRuleName(text.toUpperCase()), 'names no rule')
    .optional(),
})
export const NewBan = z.strictObject({
  ip: z
    .string()
    .max(64)
    .refine((text) => parseNetwork(text) !== null, 'must be an address or a network'),
  reason: plainText(1, 200),
  duration_seconds: z.int().min(1).max(MAX_BAN_S).default(DEFAULT_BAN_S),
})
export const BanView = z
  .object({
    id: z.uuid(),
    ip: z.string().meta({ description: 'address or CIDR' }),
    reason: z.string(),
    kind: z.enum(['manual', 'automatic']),
    strikes: z.int(),
    created_by: z.uuid().nullable(),
    created_at: Time,
    expires_at: Time,
  })
  .meta({ id: 'Ban' })
export const RuleState = z.object({
  rule: z.string(),
  endpoint: z.string(),
  scope: z.enum(['address', 'network']),
  limit: z.int().meta({ description: 'requests in a window, burst included' }),
  window_seconds: z.number(),
  used: z.int(),
  remaining: z.int(),
  reset_seconds: z.int(),
  retry_after: z.int(),
})
export const Stats = z.object({
  since: Time,
  limits_shared: z.boolean().meta({ description: 'false while Redis is lost: each instance counts for itself' }),
  violations: z.object({ total: z.int(), by_rule: z.record(z.string(), z.int()) }),
  failed_attempts: z.record(z.string(), z.int()),
  by_endpoint: z.array(z.object({ endpoint: z.string(), violations: z.int() })),
  top_offenders: z.array(z.object({ ip: z.string(), violations: z.int(), last_seconds_ago: z.int() })),
  bans: z.object({ active: z.int() }),
  global: z.object({ anonymous_last_minute: z.int(), limit: z.int() }),
  adaptive: z.object({
    enabled: z.boolean(),
    step: z.int(),
    factors: z.object({ anonymous: z.number(), free: z.number(), premium: z.number() }),
  }),
  unknown_proxy_seen: z.boolean(),
  overhead: z.object({ requests: z.int(), p50_us: z.number(), p99_us: z.number(), max_us: z.number() }),
})
export const ConfigView = z.object({
  rate_limit_enabled: z.boolean(),
  ddos_protection_enabled: z.boolean(),
  adaptive_throttling: z.boolean(),
  rules: z.array(
    z.object({
      rule: z.string(),
      endpoint: z.string(),
      limit: z.int(),
      burst: z.int(),
      window_seconds: z.number(),
      text: z.string(),
      keys: z.array(z.string()),
    }),
  ),
  global_per_minute: z.int(),
  auth_account_failures: z.int(),
  ddos: z.object({ threshold_per_minute: z.int(), ban_seconds: z.int() }),
  suspicious_activity: z.object({ threshold: z.int(), window_seconds: z.int(), ban_seconds: z.int() }),
  countries: z.object({ allow: z.array(z.string()), deny: z.array(z.string()) }),
})
