import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { exportJWK, SignJWT, UnsecuredJWT, type JWTPayload } from 'jose'
import { throwawaySecrets } from '../../platform/secrets.ts'
import { AUDIENCE, createAccessTokens, UnknownKey } from './access.ts'
import { tokenKeys } from './keys.ts'

const ISSUER = 'https://vpn.example'
const USER = '0198c0de-0000-7000-8000-000000000001'
const SESSION = '0198c0de-0000-7000-8000-000000000002'
const session = { userId: USER, sessionId: SESSION, role: 'user' as const }
const SECRET = 'an HS256 secret of more than 32 bytes!!'

const clock = { time: 1_800_000_000_000, now: () => clock.time }
const secrets = throwawaySecrets()
const keys = tokenKeys({ JWT_ALGORITHM: 'EdDSA', JWT_SECRET_KEY: undefined }, secrets)
const tokens = createAccessTokens(keys, ISSUER, 1800, clock)
const seconds = () => Math.floor(clock.time / 1000)

const claims = (): JWTPayload => ({
  iss: ISSUER,
  aud: AUDIENCE,
  sub: USER,
  sid: SESSION,
  role: 'user',
  jti: 'x',
  iat: seconds(),
  exp: seconds() + 600,
})
const header = () => ({ alg: 'EdDSA', typ: 'at+jwt', kid: keys.signing.id })
const signed = (payload: JWTPayload, head: Record<string, unknown> = header()) =>
  new SignJWT(payload).setProtectedHeader(head as { alg: string }).sign(keys.signing.key)

const refused = (token: string) => assert.rejects(tokens.verify(token), { code: 'UNAUTHENTICATED' })
const b64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

test('a token of ours tells its user, session and end', async () => {
  const { token, expiresIn } = await tokens.issue(session)
  assert.equal(expiresIn, 1800)
  assert.deepEqual(await tokens.verify(token), { sub: USER, sid: SESSION, exp: seconds() + 1800 })
  const [head = '', body = ''] = token.split('.')
  assert.deepEqual(JSON.parse(Buffer.from(head, 'base64url').toString()), header())
  const payload = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>
  assert.deepEqual(Object.keys(payload).toSorted(), ['aud', 'exp', 'iat', 'iss', 'jti', 'role', 'sid', 'sub'])
})

test('a token is good until the second it names, also when it was remembered', async () => {
  const { token } = await tokens.issue(session)
  await tokens.verify(token)
  const fresh = await signed({ ...claims(), exp: seconds() + 1800 })
  clock.time += 1_799_999
  await tokens.verify(token)
  await tokens.verify(fresh)
  clock.time += 1
  await assert.rejects(tokens.verify(token), { code: 'TOKEN_EXPIRED' })
  await assert.rejects(tokens.verify(token), { code: 'TOKEN_EXPIRED' })
  await assert.rejects(tokens.verify(await signed({ ...claims(), exp: seconds() })), { code: 'TOKEN_EXPIRED' })
})

test('another issuer, audience or kind, a missing claim, or a time to come is refused', async () => {
  await tokens.verify(await signed(claims()))
  for (const wrong of [
    { iss: 'https://evil.example' },
    { aud: 'other' },
    { sub: undefined },
    { sid: undefined },
    { sid: 'not a uuid' },
    { sub: `${USER}' or true --` },
    { exp: undefined },
    { jti: undefined },
    { nbf: seconds() + 60 },
  ])
    await refused(await signed({ ...claims(), ...wrong } as JWTPayload))
  for (const typ of [undefined, 'JWT', 'dpop+jwt', 'id+jwt', 'refresh'])
    await refused(await signed(claims(), { ...header(), typ }))
})

test('no other algorithm than the configured one is taken, whatever the header says', async () => {
  await refused(new UnsecuredJWT(claims()).encode())
  for (const alg of ['none', 'None', 'NONE', 'HS256', 'HS512', 'RS256', 'ES256']) {
    const input = `${b64({ ...header(), alg })}.${b64(claims())}`
    await refused(`${input}.`)
    await refused(
      `${input}.${createHmac('sha256', JSON.stringify(keys.jwks.keys[0])).update(input).digest('base64url')}`,
    )
    await refused(
      `${input}.${createHmac('sha256', keys.jwks.keys[0]?.x ?? '')
        .update(input)
        .digest('base64url')}`,
    )
  }
})

test('a key that comes with the token is not looked at', async () => {
  const evil = generateKeyPairSync('ed25519')
  const jwk = await exportJWK(evil.publicKey)
  for (const extra of [
    { jwk },
    { jku: 'https://evil.example/jwks' },
    { x5u: 'https://evil.example/x' },
    { x5c: ['AA'] },
  ]) {
    const token = await new SignJWT(claims()).setProtectedHeader({ ...header(), ...extra }).sign(evil.privateKey)
    await refused(token)
  }
})

test('an unknown key id is told apart from a forgery, and is a key to nothing', async () => {
  for (const kid of [
    'other',
    '__proto__',
    'constructor',
    'toString',
    '../../etc/passwd',
    "' or 1=1 --",
    '',
    undefined,
    7,
    ['x'],
  ]) {
    const head = { ...header(), kid }
    const input = `${b64(head)}.${b64(claims())}`
    await assert.rejects(
      tokens.verify(`${input}.${'A'.repeat(86)}`),
      (error) => error instanceof UnknownKey,
      String(kid),
    )
  }
})

test('every cut, extended or altered text of a token is another token', async () => {
  const { token } = await tokens.issue(session)
  await tokens.verify(token)
  for (let n = 1; n <= 8; n++) {
    await refused(token.slice(0, -n))
    await refused(token.slice(n))
    await refused(token + 'A'.repeat(n))
    await refused(`${token}${'='.repeat(n)}`)
  }
  // The last letter of an 86-letter signature has four bits that decode to nothing.
  const last = token.at(-1) ?? ''
  for (const letter of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_')
    if (letter !== last) await refused(token.slice(0, -1) + letter)
  for (let i = 0; i < token.length; i += 7) {
    const other = token[i] === 'A' ? 'B' : 'A'
    await assert.rejects(tokens.verify(token.slice(0, i) + other + token.slice(i + 1)))
  }
})

test('malformed, huge, encrypted and critical tokens are refused fast', async () => {
  const began = performance.now()
  for (const text of [
    '',
    '.',
    '..',
    'a.b.c',
    '.'.repeat(100_000),
    'a'.repeat(1_000_000),
    `${'a.'.repeat(4)}a`,
    '\0.\0.\0',
    `${b64({ alg: 'dir', enc: 'A256GCM', kid: keys.signing.id, zip: 'DEF' })}..AA.AA.AA`,
  ])
    await refused(text)
  assert.ok(performance.now() - began < 200)
  await refused(await signed(claims(), { ...header(), b64: true, crit: ['b64'] }))
})

test('of a name given twice in the claims the one that counts is the one that was checked', async () => {
  const input = `${b64(header())}.${Buffer.from(
    `{"aud":"other",${JSON.stringify(claims()).slice(1, -1)},"sid":"${USER}"}`,
  ).toString('base64url')}`
  const { sign } = await import('node:crypto')
  const token = `${input}.${sign(null, Buffer.from(input), keys.signing.key).toString('base64url')}`
  assert.equal((await tokens.verify(token)).sid, USER)
})

test('with HS256 only HS256 counts; what is published verifies id_tokens alone', async () => {
  const hs = tokenKeys({ JWT_ALGORITHM: 'HS256', JWT_SECRET_KEY: SECRET }, secrets)
  const hmacTokens = createAccessTokens(hs, ISSUER, 1800, clock)
  const { token } = await hmacTokens.issue(session)
  assert.equal((await hmacTokens.verify(token)).sid, SESSION)
  await refused(token)
  await assert.rejects(hmacTokens.verify((await tokens.issue(session)).token), { code: 'UNAUTHENTICATED' })
  assert.deepEqual(hs.jwks, keys.jwks)
  assert.ok(!JSON.stringify(hs.jwks).includes(hs.signing.id))
  assert.throws(() => tokenKeys({ JWT_ALGORITHM: 'HS256', JWT_SECRET_KEY: undefined }, secrets))
})
