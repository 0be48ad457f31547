import { join, resolve } from 'node:path'
import { z } from 'zod'
import type { Env } from './env.ts'
import { addresses, flag, list, origin, postgresUrl, redisUrl, whole } from './fields.ts'

const EXAMPLE_VALUES = /change[-_ ]?(me|in[-_ ]?production)|^(secret|password|example|your)\b/i
const MIN_HS256_BYTES = 32

/** The names of api.md section 8. Empty counts as unset; defaults make all of it optional. */
const schema = z.object({
  NODE_ENV: z.string().default('development'),
  HOST: z.string().default('127.0.0.1'),
  PORT: whole(0, 65535).default(8000),
  DATA_DIR: z.string().default('./data'),
  PUBLIC_URL: origin.optional(),
  APP_NAME: z
    .string()
    .max(60)
    .regex(/^[^\p{C}<>"]+$/u, 'must be plain text')
    .default('Prime VPN'),
  LOG_LEVEL: z
    .string()
    .transform((text) => text.toLowerCase())
    .pipe(z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']))
    .default('info'),
  DEBUG: flag.default(false),
  DATABASE_URL: postgresUrl.optional(),
  MIGRATE_DATABASE_URL: postgresUrl.optional(),
  DATABASE_POOL: whole(2, 500).default(10),
  REDIS_URL: redisUrl.optional(),
  REDIS_HOST: z.string().optional(),
  REDIS_PORT: whole(1, 65535).default(6379),
  SECRETS_FILE: z.string().optional(),
  ADMIN_EMAIL: z.email().optional(),
  ADMIN_PASSWORD: z.string().min(15, 'must be 15 characters or more').optional(),
  PASSWORD_MIN_LENGTH: whole(8, 64).default(8),
  ANONYMOUS_ACCOUNTS: flag.default(false),
  JWT_ALGORITHM: z.enum(['EdDSA', 'HS256']).default('EdDSA'),
  JWT_SECRET_KEY: z.string().optional(),
  SECRET_KEY: z.string().optional(),
  ACCESS_TOKEN_EXPIRE_MINUTES: whole(1, 1440).default(30),
  REFRESH_TOKEN_EXPIRE_DAYS: whole(1, 90).default(30),
  REQUIRE_EMAIL_VERIFICATION: flag.optional(),
  SMTP_URL: z
    .string()
    .regex(/^smtps?:\/\//, 'must be smtp://user:password@host:587')
    .optional(),
  MAIL: z.enum(['on', 'off']).default('on'),
  ALLOWED_HOSTS: list.default([]),
  CORS_ORIGINS: list.pipe(z.array(origin)).default([]),
  WS_QUERY_JWT: flag.default(true),
  METRICS_TOKEN: z.string().min(16, 'must be 16 characters or more').optional(),
  VPN_SUBNET: z
    .string()
    .regex(/^\d{1,3}(\.\d{1,3}){3}\/(8|9|1\d|2[0-4])$/, 'must be an IPv4 network from /8 to /24')
    .default('10.77.0.0/16'),
  VPN_DNS: addresses
    .refine((items) => items.length > 0 && items.length <= 4, 'must name one to four addresses')
    .default(['1.1.1.1', '1.0.0.1']),
  CONNECT_TIMEOUT_MS: whole(100, 60_000).default(5_000),
  LEASE_REST_SECONDS: whole(0, 86_400).default(180),
  CONNECTION_IDLE_HOURS: whole(1, 8_760).default(24),
  STRIPE_SECRET_KEY: z.string().regex(/^\S+$/, 'must be one word such as sk_live_...').optional(),
  STRIPE_WEBHOOK_SECRET: list.default([]),
  STRIPE_MONTHLY_PRICE_ID: z.string().optional(),
  STRIPE_YEARLY_PRICE_ID: z.string().optional(),
  STRIPE_API_BASE: origin.optional(),
  STRIPE_STANDIN: flag.default(false),
  STRIPE_TAX: flag.default(false),
  REFUND_WINDOW_DAYS: whole(0, 120).default(14),
})

/** The names that `parseConfig` reads. */
export const SETTINGS: readonly string[] = Object.keys(schema.shape)

type Values = z.infer<typeof schema>

/** Every setting, checked. `*_FILE`, `*_URL` defaults that depend on others are filled in. */
export type Config = Omit<
  Values,
  'SECRETS_FILE' | 'REDIS_URL' | 'JWT_SECRET_KEY' | 'PUBLIC_URL' | 'REQUIRE_EMAIL_VERIFICATION'
> & {
  production: boolean
  SECRETS_FILE: string
  REDIS_URL: string | undefined
  JWT_SECRET_KEY: string | undefined
  PUBLIC_URL: string | undefined
  REQUIRE_EMAIL_VERIFICATION: boolean
}

/** Every fault of the configuration in one readable message. */
export class ConfigError extends Error {
  readonly faults: readonly string[]
  constructor(faults: readonly string[]) {
    super(
      `The configuration has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}:\n${faults.map((f) => `  - ${f}`).join('\n')}`,
    )
    this.name = 'ConfigError'
    this.faults = faults
  }
}

/** Modes that encrypt, or may, without asking whom they speak to: whoever stands in between answers for the database. */
const UNPROVEN = new Set(['allow', 'prefer', 'require', 'no-verify'])

function unprovenDatabases(values: Values): string[] {
  const names = ['DATABASE_URL', 'MIGRATE_DATABASE_URL'] as const
  return names.flatMap((name) => {
    const query = values[name] === undefined ? undefined : new URL(values[name]).searchParams
    const mode = query?.get('sslmode') ?? query?.get('ssl') ?? ''
    return UNPROVEN.has(mode)
      ? [
          `${name}: sslmode=${mode} does not check the certificate; say sslmode=verify-full (NODE_EXTRA_CA_CERTS for a CA of your own)`,
        ]
      : []
  })
}

function productionFaults(values: Values): string[] {
  const faults: string[] = []
  const secretNames = ['JWT_SECRET_KEY', 'SECRET_KEY', 'ADMIN_PASSWORD', 'METRICS_TOKEN'] as const
  for (const name of secretNames) {
    if (values[name] !== undefined && EXAMPLE_VALUES.test(values[name]))
      faults.push(`${name} is a known example value: make your own`)
  }
  if (values.DEBUG || values.LOG_LEVEL === 'debug' || values.LOG_LEVEL === 'trace')
    faults.push('DEBUG is refused in production')
  if (values.STRIPE_API_BASE) faults.push('STRIPE_API_BASE is a development switch and refused in production')
  if (values.STRIPE_STANDIN) faults.push('STRIPE_STANDIN is a development switch and refused in production')
  if (!values.SMTP_URL && values.MAIL !== 'off')
    faults.push('SMTP_URL is missing (or set MAIL=off to run without mail)')
  return [...faults, ...unprovenDatabases(values)]
}

function hmacFaults(values: Values): string[] {
  if (values.JWT_ALGORITHM !== 'HS256') return []
  const secret = values.JWT_SECRET_KEY ?? values.SECRET_KEY
  if (secret === undefined) return ['JWT_ALGORITHM=HS256 needs JWT_SECRET_KEY']
  return Buffer.byteLength(secret) < MIN_HS256_BYTES ? [`JWT_SECRET_KEY must be at least ${MIN_HS256_BYTES} bytes`] : []
}

const NO_SECRET = /^(whsec_|undefined|null)?$/

/** Whoever knows that a secret is empty can sign: an empty one, alone or among others, is no configuration. */
function webhookSecretFaults(env: Env, values: Values): string[] {
  const given = env.STRIPE_WEBHOOK_SECRET
  if (given === undefined) return []
  const items = given.trimStart().startsWith('[') ? values.STRIPE_WEBHOOK_SECRET : given.split(',')
  if (items.length > 0 && !items.some((item) => NO_SECRET.test(item.trim()))) return []
  return ['STRIPE_WEBHOOK_SECRET is empty: set the signing secret of your webhook endpoint, or remove the name']
}

/**
 * Checks the environment. Unknown names are left alone, since other programs share it.
 * @throws {ConfigError} naming every fault
 */
export function parseConfig(env: Env): Config {
  const given = Object.fromEntries(
    Object.entries(env).filter(([, value]) => value !== undefined && value.trim() !== ''),
  )
  const result = schema.safeParse(given)
  if (!result.success) {
    throw new ConfigError(result.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`))
  }
  const values = result.data
  const production = values.NODE_ENV === 'production'
  const faults = [
    ...hmacFaults(values),
    ...webhookSecretFaults(env, values),
    ...(values.STRIPE_STANDIN && (values.STRIPE_SECRET_KEY ?? values.STRIPE_API_BASE)
      ? ['STRIPE_STANDIN brings its own key and address: remove STRIPE_SECRET_KEY and STRIPE_API_BASE']
      : []),
    ...(production ? productionFaults(values) : []),
  ]
  if (faults.length > 0) throw new ConfigError(faults)
  return {
    ...values,
    production,
    DATA_DIR: resolve(values.DATA_DIR),
    SECRETS_FILE: values.SECRETS_FILE ?? join(resolve(values.DATA_DIR), 'secrets.json'),
    LOG_LEVEL: values.DEBUG ? 'debug' : values.LOG_LEVEL,
    REDIS_URL:
      values.REDIS_URL ?? (values.REDIS_HOST ? `redis://${values.REDIS_HOST}:${values.REDIS_PORT}` : undefined),
    JWT_SECRET_KEY: values.JWT_SECRET_KEY ?? values.SECRET_KEY,
    PUBLIC_URL: values.PUBLIC_URL,
    REQUIRE_EMAIL_VERIFICATION: values.REQUIRE_EMAIL_VERIFICATION ?? values.SMTP_URL !== undefined,
  }
}
