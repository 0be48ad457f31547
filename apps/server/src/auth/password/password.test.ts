import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hash as argon2 } from '@node-rs/argon2'
import { HashGate } from './gate.ts'
import { createPasswords } from './hash.ts'
import { createPasswordRules } from './rules.ts'

const rules = createPasswordRules({ minLength: 8, appName: 'Prime VPN' })
const fault = (password: string, email = 'grumbly.fizzbuzz@example.com', staff = false) =>
  rules.fault(password, { email, staff })

test('length counts code points of the normalised text: 8 for customers, 15 for staff, a long sentence is fine', () => {
  assert.match(fault('1x3d5g7') ?? '', /at least 8/)
  assert.equal(fault('1x3d5g7k'), null)
  assert.match(fault('😀😁😂🤣😃😄😅') ?? '', /at least 8/)
  assert.equal(fault('😀😁😂🤣😃😄😅😆'), null)
  assert.match(fault('14 characters!', undefined, true) ?? '', /at least 15/)
  assert.equal(fault('15 characters!!', undefined, true), null)
  assert.equal(fault('x y '.repeat(256)), null)
  assert.match(fault(`${'x y '.repeat(256)}z`) ?? '', /at most 1024/)
  assert.match(fault('\ufb03'.repeat(512)) ?? '', /at most 1024/, 'three letters each once normalised')
})

test('the most used passwords are refused in any case, everything else needs no kinds of characters', () => {
  for (const common of ['password', 'PassWord', '12345678', 'iloveyou', 'qwertyuiop', 'ｐａｓｓｗｏｒｄ'])
    assert.match(fault(common) ?? '', /most used/, common)
  assert.equal(fault('zgkwhtbq'), null)
  assert.equal(fault('        '), null)
})

test('a password made of the address or of our name is refused, one that merely holds it is not', () => {
  for (const made of [
    'grumbly.fizzbuzz',
    'fizzbuzz',
    'Fizzbuzz1815!',
    'grumbly.fizzbuzz@example.com',
    'primevpn',
    'PrimeVPN2026',
    'Prime VPN!',
    'vpnvpnvpn',
  ])
    assert.match(fault(made) ?? '', /made of/, made)
  assert.equal(fault('fizzbuzz reads novels'), null)
  assert.equal(fault('xprimevpnyzw'), null)
})

test('a password matches its own hash alone; nobody matches anything, and pays the same', async () => {
  let hashes = 0
  const counting = new (class extends HashGate {
    override run<T>(work: () => Promise<T>): Promise<T> {
      hashes++
      return super.run(work)
    }
  })()
  const passwords = await createPasswords(counting)
  const stored = await passwords.hash('correct horse')
  assert.match(stored, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  hashes = 0
  assert.equal(await passwords.matches(stored, 'correct horse'), true)
  assert.equal(hashes, 1)
  assert.equal(await passwords.matches(stored, 'correct horse '), false)
  assert.equal(hashes, 2)
  assert.equal(await passwords.matches(null, 'correct horse'), false)
  assert.equal(hashes, 3)
})

test('a hash of another cost is outdated and still checks', async () => {
  const passwords = await createPasswords()
  const old = await argon2('correct horse', { memoryCost: 8_192, timeCost: 1 })
  assert.equal(passwords.isOutdated(old), true)
  assert.equal(await passwords.matches(old, 'correct horse'), true)
  assert.equal(passwords.isOutdated(await passwords.hash('correct horse')), false)
})

test('the gate runs no more than its slots at once, in order, and turns away what would wait too long', async () => {
  const gate = new HashGate(2, 3)
  let running = 0
  let most = 0
  const ends: (() => void)[] = []
  const done: number[] = []
  const work = (n: number) =>
    gate.run(async () => {
      most = Math.max(most, ++running)
      await new Promise<void>((resolve) => ends.push(resolve))
      running--
      done.push(n)
    })
  const all = [0, 1, 2, 3, 4].map(work)
  await assert.rejects(work(5), { code: 'UNAVAILABLE' })
  while (done.length < 5) {
    ends.shift()?.()
    await new Promise(setImmediate)
  }
  await Promise.all(all)
  assert.equal(most, 2)
  assert.deepEqual(done, [0, 1, 2, 3, 4])
  const failing = gate.run(() => Promise.reject(new Error('no')))
  await assert.rejects(failing)
  assert.equal(await gate.run(async () => 'free again'), 'free again')
})
