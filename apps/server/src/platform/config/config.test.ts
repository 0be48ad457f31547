import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConfigError, parseConfig } from './config.ts'
import { parseEnvFile } from './env.ts'

const faultsOf = (env: Record<string, string>): string => {
  try {
    parseConfig(env)
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    return error.message
  }
  return assert.fail('the configuration was accepted')
}

test('nothing is needed to try it', () => {
  const config = parseConfig({})
  assert.equal(config.PORT, 8000)
  assert.equal(config.HOST, '127.0.0.1')
  assert.equal(config.DATABASE_URL, undefined)
  assert.match(config.SECRETS_FILE, /data\/secrets\.json$/)
})

test('every fault is named in one message', () => {
  const message = faultsOf({
    PORT: '99999',
    LOG_LEVEL: 'loud',
    REDIS_URL: 'http://x',
    VPN_SUBNET: '10.0.0.0/30',
    ADMIN_PASSWORD: 'short',
  })
  for (const name of ['PORT', 'LOG_LEVEL', 'REDIS_URL', 'VPN_SUBNET', 'ADMIN_PASSWORD'])
    assert.match(message, new RegExp(`- ${name} `))
})

test('an empty value counts as unset', () => {
  assert.equal(parseConfig({ PORT: '', DATABASE_URL: ' ' }).PORT, 8000)
})

test('names of older set-ups are understood', () => {
  const config = parseConfig({
    DEBUG: 'True',
    SECRET_KEY: 'x'.repeat(40),
    REDIS_HOST: 'cache',
    DATABASE_URL: 'postgresql+asyncpg://u:p@db/vpn',
    CORS_ORIGINS: '["https://a.example","https://b.example"]',
  })
  assert.equal(config.LOG_LEVEL, 'debug')
  assert.equal(config.JWT_SECRET_KEY, 'x'.repeat(40))
  assert.equal(config.REDIS_URL, 'redis://cache:6379')
  assert.equal(config.DATABASE_URL, 'postgres://u:p@db/vpn')
  assert.deepEqual(config.CORS_ORIGINS, ['https://a.example', 'https://b.example'])
})

test('production refuses example values, debug and a missing mail server', () => {
  const message = faultsOf({ NODE_ENV: 'production', METRICS_TOKEN: 'change-me-in-production', DEBUG: '1' })
  assert.match(message, /METRICS_TOKEN/)
  assert.match(message, /DEBUG/)
  assert.match(message, /SMTP_URL/)
  assert.equal(parseConfig({ NODE_ENV: 'production', MAIL: 'off' }).production, true)
})

test('HS256 needs a secret of 32 bytes', () => {
  assert.match(faultsOf({ JWT_ALGORITHM: 'HS256' }), /JWT_SECRET_KEY/)
  assert.match(faultsOf({ JWT_ALGORITHM: 'HS256', JWT_SECRET_KEY: 'x'.repeat(31) }), /32 bytes/)
  assert.equal(parseConfig({ JWT_ALGORITHM: 'HS256', JWT_SECRET_KEY: 'x'.repeat(32) }).JWT_ALGORITHM, 'HS256')
})

test('an origin with a path, a user or another scheme is refused', () => {
  for (const url of ['https://a.example/x', 'https://u@a.example', 'ftp://a.example', 'a.example'])
    assert.match(faultsOf({ PUBLIC_URL: url }), /PUBLIC_URL/)
  assert.equal(parseConfig({ PUBLIC_URL: 'https://a.example/' }).PUBLIC_URL, 'https://a.example')
})

test('a .env file loses quotes, inline comments and the word export', () => {
  const env = parseEnvFile(`
# a comment
PLAIN=one # two
QUOTED="with # inside" # outside
SINGLE='x y'
export EXPORTED=yes
HASHED=a#b
EMPTY=
COMMENT_ONLY=# nothing
not a line
`)
  assert.deepEqual(env, {
    PLAIN: 'one',
    QUOTED: 'with # inside',
    SINGLE: 'x y',
    EXPORTED: 'yes',
    HASHED: 'a#b',
    EMPTY: '',
    COMMENT_ONLY: '',
  })
})

test('an empty webhook secret is no configuration, alone or among others', () => {
  for (const secret of ['', ' ', 'whsec_', 'undefined', 'whsec_abc,', 'whsec_abc, ,whsec_def', '[]', '[""]'])
    assert.match(faultsOf({ STRIPE_WEBHOOK_SECRET: secret }), /STRIPE_WEBHOOK_SECRET/, `"${secret}"`)
  assert.deepEqual(parseConfig({ STRIPE_WEBHOOK_SECRET: 'whsec_a1, whsec_b2' }).STRIPE_WEBHOOK_SECRET, [
    'whsec_a1',
    'whsec_b2',
  ])
  assert.deepEqual(parseConfig({}).STRIPE_WEBHOOK_SECRET, [])
})

test('production refuses the switches of the Stripe stand-in', () => {
  const message = faultsOf({ NODE_ENV: 'production', STRIPE_STANDIN: '1', STRIPE_API_BASE: 'http://127.0.0.1:9' })
  assert.match(message, /STRIPE_STANDIN is a development switch/)
  assert.match(message, /STRIPE_API_BASE is a development switch/)
})

test('production refuses a database whose certificate nobody checks, and takes one that is checked', () => {
  const env = (mode: string) => ({
    NODE_ENV: 'production',
    MAIL: 'off',
    DATABASE_URL: `postgresql+asyncpg://prime@db.example/prime?sslmode=${mode}`,
  })
  for (const mode of ['allow', 'prefer', 'require', 'no-verify']) assert.match(faultsOf(env(mode)), /verify-full/)
  assert.equal(parseConfig(env('verify-full')).production, true)
  assert.ok(parseConfig({ ...env('require'), NODE_ENV: 'development' }).DATABASE_URL)
})
