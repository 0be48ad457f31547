import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parseConfig, SETTINGS, type Env } from './platform/config/index.ts'
import { readProtectionConfig } from './protection/index.ts'

const EXAMPLE = new URL('../../../.env.example', import.meta.url)

test('every setting that is read stands in .env.example', () => {
  const read = new Set(SETTINGS)
  readProtectionConfig(new Proxy<Env>({}, { get: (_, name) => void read.add(String(name)) }))
  assert.ok(read.has('PORT') && read.has('DDOS_THRESHOLD'))
  const words = new Set(readFileSync(EXAMPLE, 'utf8').match(/[A-Z][A-Z0-9_]+/g))
  // A rule's own limit is written like that of any other.
  const missing = [...read].filter((name) => !words.has(name) && !words.has(name.replace('RATE_LIMIT_', '')))
  assert.deepEqual(missing, [])
})

test('a setting has one reader, so that its fault is told once', () => {
  const names: string[] = []
  readProtectionConfig(new Proxy<Env>({}, { get: (_, name) => void names.push(String(name)) }))
  assert.deepEqual(
    SETTINGS.filter((name) => names.includes(name)),
    [],
  )
  const env = { TRUSTED_PROXIES: 'nonsense' }
  assert.doesNotThrow(() => parseConfig(env))
  assert.equal(readProtectionConfig(env).faults.length, 1)
})
