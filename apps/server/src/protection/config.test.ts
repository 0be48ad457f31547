import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limitText, parseLimit } from './limit-text.ts'
import { readProtectionConfig } from './config.ts'
import { DEFAULT_LIMITS, RULES } from './rules.ts'

const faultsOf = (env: Record<string, string>) => readProtectionConfig(env).faults

test('with nothing set the limits are those of the contract, without a fault or a doubt', () => {
  const { config, faults, warnings } = readProtectionConfig({})
  assert.deepEqual([faults, warnings], [[], []])
  const table = Object.fromEntries(RULES.slice(0, 9).map((rule) => [rule, limitText(config.limits[rule])]))
  assert.deepEqual(table, {
    AUTH_LOGIN: '5/300s+2',
    AUTH_REGISTER: '3/3600s+1',
    AUTH_PASSWORD_RESET: '3/3600s+1',
    VPN_CONNECT: '20/60s+5',
    VPN_DISCONNECT: '30/60s+10',
    PAYMENTS: '10/300s+3',
    WEBSOCKET: '5/60s+2',
    API: '60/60s+20',
    IP: '100/60s',
  })
  assert.deepEqual(
    [config.globalPerMinute, config.ddos, config.suspicious],
    [1000, { perMinute: 500, banSeconds: 3600 }, { threshold: 50, windowSeconds: 300, banSeconds: 1800 }],
  )
})

test('limits are written as requests/window+burst; a bare number keeps window and burst', () => {
  const fallback = DEFAULT_LIMITS.API
  assert.deepEqual(parseLimit('5/300s+2', fallback), { limit: 5, burst: 2, windowMs: 300_000 })
  assert.deepEqual(parseLimit('5 / 5m', fallback), { limit: 5, burst: 0, windowMs: 300_000 })
  assert.deepEqual(parseLimit('7/1h+1', fallback), { limit: 7, burst: 1, windowMs: 3_600_000 })
  assert.deepEqual(parseLimit('90', fallback), { limit: 90, burst: 20, windowMs: 60_000 })
})

test('every absurd limit is told by name', () => {
  for (const text of [
    '0/60s',
    '-5/60s',
    '5/0s',
    '5/60',
    '5/60s+-1',
    '5/25h',
    '5/60d',
    '1e3/60s',
    '5.5/60s',
    'many',
    '5/60s+51',
    '10001/60s',
    '5/60s+2+2',
    'NaN',
    '٥/60s',
  ])
    assert.match(faultsOf({ RATE_LIMIT_AUTH_LOGIN: text })[0] ?? '', /^RATE_LIMIT_AUTH_LOGIN /, text)
  assert.match(faultsOf({ RATE_LIMIT_AUTH_LOGON: '5/60s' })[0] ?? '', /names no rule/)
})

test('settings that contradict each other are faults, those that are hardly meant are doubts', () => {
  assert.equal(faultsOf({ IP_RATE_LIMIT: '5/60s', RATE_LIMIT_IP: '6/60s' }).length, 1)
  assert.equal(faultsOf({ GLOBAL_RATE_LIMIT: '5', RATE_LIMIT_GLOBAL: '5/60s' }).length, 1)
  assert.match(faultsOf({ GEO_ALLOW_COUNTRIES: 'DE,FR', GEO_DENY_COUNTRIES: 'fr' })[0] ?? '', /FR/)
  assert.match(faultsOf({ DDOS_WHITELIST_IPS: '0.0.0.0/0' })[0] ?? '', /everybody/)
  assert.match(faultsOf({ TRUSTED_PROXIES: '10.0.0.0/8,::/0' })[0] ?? '', /everybody/)
  const { faults, warnings } = readProtectionConfig({
    IP_RATE_LIMIT: '600',
    TRUSTED_PROXIES: '127.0.0.1',
    DDOS_WHITELIST_IPS: '["127.0.0.1","::1"]',
  })
  assert.deepEqual(faults, [])
  assert.equal(warnings.length, 2)
})

test('all faults are found at once', () => {
  const faults = faultsOf({
    RATE_LIMIT_ENABLED: 'maybe',
    DDOS_THRESHOLD: '-1',
    DDOS_BAN_DURATION: '1h',
    SUSPICIOUS_ACTIVITY_WINDOW: '0',
    DDOS_WHITELIST_IPS: '300.1.1.1',
    GEO_DENY_COUNTRIES: 'Germany',
    GLOBAL_RATE_LIMIT: '1000/5m',
    ALERT_WEBHOOK_URL: 'http://hooks.example',
    CONNECTIONS_PER_ADDRESS: '1',
  })
  assert.equal(faults.length, 9)
})

test('flags are understood as older set-ups spell them', () => {
  for (const no of ['False', '0', 'no', 'OFF'])
    assert.equal(readProtectionConfig({ DDOS_PROTECTION_ENABLED: no }).config.ddosEnabled, false)
  assert.equal(readProtectionConfig({ RATE_LIMIT_ENABLED: ' ' }).config.limitsEnabled, true)
})
