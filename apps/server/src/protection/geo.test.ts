import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAddress } from './address/address.ts'
import { openCountryDatabase } from './country-database.ts'
import { Countries } from './geo.ts'

const at = (text: string) => parseAddress(text) ?? assert.fail(text)
const rules = (allow: string[], deny: string[]) => ({ allow: new Set(allow), deny: new Set(deny) })

test('the shipped database knows well-known addresses of both families, and says when it knows nothing', async () => {
  const countryOf = await openCountryDatabase()
  assert.equal(countryOf(at('8.8.8.8')), 'US')
  assert.equal(countryOf(at('193.0.6.139')), 'NL')
  assert.equal(countryOf(at('::ffff:8.8.8.8')), 'US')
  assert.match(countryOf(at('2001:4860:4860::8888')) ?? '', /^[A-Z]{2}$/)
  assert.equal(countryOf(at('10.0.0.1')), null)
})

test('a file of the operator that is no country database is told by its name', async () => {
  await assert.rejects(openCountryDatabase(import.meta.filename), /GEOIP_FILE .*geo\.test\.ts/)
  await assert.rejects(openCountryDatabase('/nowhere/x.mmdb'), /GEOIP_FILE/)
})

test('a country is let in or not; what is unknown passes a deny-list only', () => {
  const de = () => 'DE'
  const unknown = () => null
  const address = at('192.0.2.1')
  assert.equal(new Countries(rules([], ['DE']), de).permits(address), false)
  assert.equal(new Countries(rules([], ['FR']), de).permits(address), true)
  assert.equal(new Countries(rules(['DE'], []), de).permits(address), true)
  assert.equal(new Countries(rules(['FR'], []), de).permits(address), false)
  assert.equal(new Countries(rules([], ['DE']), unknown).permits(address), true)
  assert.equal(new Countries(rules(['DE'], []), unknown).permits(address), false)
  assert.equal(new Countries(rules([], []), de).active, false)
})
