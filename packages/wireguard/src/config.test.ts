import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { clientConfig, formatEndpoint, NO_PRIVATE_KEY_LINE, parseEndpoint, type ClientConfig } from './config.ts'
import { InvalidValue } from './errors.ts'
import { generateKeyPair, generatePresharedKey } from './keys.ts'
import { parseConfig } from './parse-config.ts'
import { needs } from './testing/needs.ts'

const KEY = 'YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk='
const SERVER = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg='
const PSK = '/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak='

const full: ClientConfig = {
  privateKey: KEY,
  addresses: ['10.77.4.2/32', 'fd12:3456:789a:1::2/128'],
  dns: ['1.1.1.1', '2606:4700:4700::1111'],
  publicKey: SERVER,
  presharedKey: PSK,
  endpoint: { address: '203.0.113.9', port: 51820 },
  allowedIps: ['0.0.0.0/0', '::/0'],
  mtu: 1420,
  keepalive: 25,
}

test('a full configuration reads as wg-quick wants it', () => {
  assert.equal(
    clientConfig(full),
    `[Interface]
PrivateKey = ${KEY}
Address = 10.77.4.2/32, fd12:3456:789a:1::2/128
DNS = 1.1.1.1, 2606:4700:4700::1111
MTU = 1420

[Peer]
PublicKey = ${SERVER}
PresharedKey = ${PSK}
Endpoint = 203.0.113.9:51820
AllowedIPs = 0.0.0.0/0, ::/0
PersistentKeepalive = 25
`,
  )
})

test('without a private key the line is a comment; what is not wanted has no line', () => {
  const { mtu: _, keepalive: __, ...rest } = full
  const text = clientConfig({ ...rest, privateKey: null, presharedKey: null, dns: [] })
  assert.equal(text.split('\n')[1], NO_PRIVATE_KEY_LINE)
  for (const key of ['PrivateKey =', 'DNS', 'MTU', 'PresharedKey', 'PersistentKeepalive'])
    assert.ok(!text.split('\n').some((line) => line.startsWith(key)), key)
})

test('an IPv6 endpoint stands in brackets and is written canonically', () => {
  assert.equal(formatEndpoint({ address: '2001:DB8:0::1', port: 51820 }), '[2001:db8::1]:51820')
  assert.deepEqual(parseEndpoint('[2001:db8::1]:51820'), { address: '2001:db8::1', port: 51820 })
  assert.deepEqual(parseEndpoint('192.0.2.1:1'), { address: '192.0.2.1', port: 1 })
  for (const text of [
    '192.0.2.1',
    '2001:db8::1:51820',
    '[192.0.2.1]:1',
    'host:1',
    '192.0.2.1:0',
    '192.0.2.1:65536',
    '1.2.3.4:1 ',
  ])
    assert.throws(() => parseEndpoint(text), InvalidValue, text)
})

const HOSTILE = [
  '\nPostUp = touch /tmp/owned',
  '\r\nPostUp=id',
  '\rPostUp=id',
  '\u2028PostUp=id',
  '\u2029PostUp=id',
  '\u0085PostUp=id',
  '\u000bPostUp=id',
  '\u0000',
  '\n[Peer]\nPublicKey = x',
  '[Peer]',
  ' # comment',
  ' ; comment',
  '#',
  ';',
  ', ::/0',
  '%eth0',
  '$(id)',
  ' ',
  'PostUp=',
]

/** Every text field, filled with a value made from its good one. */
const spoiled: Record<string, (bad: (good: string) => string) => ClientConfig> = {
  privateKey: (bad) => ({ ...full, privateKey: bad(KEY) }),
  addresses: (bad) => ({ ...full, addresses: ['10.77.4.2/32', bad('fd00::2/128')] }),
  dns: (bad) => ({ ...full, dns: [bad('1.1.1.1')] }),
  publicKey: (bad) => ({ ...full, publicKey: bad(SERVER) }),
  presharedKey: (bad) => ({ ...full, presharedKey: bad(PSK) }),
  endpoint: (bad) => ({ ...full, endpoint: { address: bad('fe80::1'), port: 51820 } }),
  allowedIps: (bad) => ({ ...full, allowedIps: [bad('0.0.0.0/0')] }),
}

for (const [field, spoil] of Object.entries(spoiled))
  test(`${field}: nothing that could add a line, a section or a comment is let through`, () => {
    assert.equal(typeof clientConfig(spoil((good) => good)), 'string')
    for (const text of HOSTILE)
      for (const bad of [(good: string) => good + text, (good: string) => text + good, () => text, () => ''])
        assert.throws(
          () => clientConfig(spoil(bad)),
          (err) => err instanceof InvalidValue && err.field === field,
          JSON.stringify(bad('good')),
        )
  })

test('numbers that are none are refused', () => {
  for (const n of [0, -1, 1.5, Number.NaN, 65536, '25\nPostUp=id' as unknown as number]) {
    assert.throws(() => clientConfig({ ...full, keepalive: n }), InvalidValue)
    assert.throws(() => clientConfig({ ...full, endpoint: { address: '192.0.2.1', port: n } }), InvalidValue)
  }
  for (const n of [1279, 9001, '1420\nPostUp=id' as unknown as number])
    assert.throws(() => clientConfig({ ...full, mtu: n }), InvalidValue)
  assert.throws(() => clientConfig({ ...full, addresses: [] }), InvalidValue)
  assert.throws(() => clientConfig({ ...full, allowedIps: [] }), InvalidValue)
})

test('what was written is read back', () => {
  assert.deepEqual(parseConfig(clientConfig(full)), full)
  const bare: ClientConfig = {
    ...full,
    privateKey: null,
    presharedKey: null,
    dns: [],
    mtu: undefined,
    keepalive: undefined,
  }
  assert.deepEqual(parseConfig(clientConfig(bare)), bare)
})

test('a strict reader refuses whatever wg-quick might understand otherwise', () => {
  const good = clientConfig(full)
  const bad = [
    good.replace('MTU = 1420', 'MTU = 1420\nPostUp = id'),
    good.replace('MTU = 1420', 'SaveConfig = true'),
    good.replace('MTU = 1420', 'MTU = 1420\nMTU = 1500'),
    good.replace('MTU = 1420', '# a comment'),
    good.replace('MTU = 1420', 'mtu = 1420'),
    good.replace('MTU = 1420', 'MTU = 1420\u2028PostUp = id'),
    `${good}\n[Peer]\nPublicKey = ${SERVER}\n`,
    `${good}[Interface]\n`,
    good.replace('[Interface]\n', ''),
    good.replace(`PublicKey = ${SERVER}\n`, ''),
    good.replace('[Peer]', '[Peer] # x'),
    good.replace(SERVER, Buffer.alloc(32).toString('base64')),
  ]
  for (const text of bad) assert.throws(() => parseConfig(text), InvalidValue, text)
})

test('wg-quick strip keeps exactly the keys of WireGuard, unchanged', needs('root', 'wg-quick'), (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'wg-conf-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'wgtest.conf')
  const text = clientConfig({ ...full, privateKey: generateKeyPair().privateKey, presharedKey: generatePresharedKey() })
  writeFileSync(file, text, { mode: 0o600 })
  const stripped = execFileSync('wg-quick', ['strip', file], { encoding: 'utf8' })
  const wanted = text.split('\n').filter((line) => line !== '' && !/^(Address|DNS|MTU) = /.test(line))
  assert.deepEqual(
    stripped.split('\n').filter((line) => line !== ''),
    wanted,
  )
})
