import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setImmediate as pause } from 'node:timers/promises'
import { BATCH, batchesOf, checkInterfaceName, type PeerOp } from './driver.ts'
import { DriverFailed, InvalidValue } from './errors.ts'
import { generateKeyPair, publicKeyOf } from './keys.ts'
import { openDriver } from './open-driver.ts'
import { parseGet, request } from './uapi.ts'
import { parseDump } from './wg-tool.ts'

const PRIVATE = 'YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk='
const PUBLIC = publicKeyOf(PRIVATE)
const ONE = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg='
const TWO = 'TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0='
const PSK = '/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak='
const hex = (key: string): string => Buffer.from(key, 'base64').toString('hex')

const GET = `private_key=${hex(PRIVATE)}
listen_port=51820
fwmark=7
public_key=${hex(ONE)}
preshared_key=${hex(PSK)}
protocol_version=1
endpoint=[2001:db8::1]:1234
last_handshake_time_sec=1700000000
last_handshake_time_nsec=5
tx_bytes=18446744073709551615
rx_bytes=9007199254740993
persistent_keepalive_interval=0
allowed_ip=10.77.4.2/32
allowed_ip=fd00::2/128
something_new=1
public_key=${hex(TWO)}
preshared_key=${'0'.repeat(64)}
last_handshake_time_sec=0
tx_bytes=0
rx_bytes=0
`

const STATE = {
  publicKey: PUBLIC,
  listenPort: 51820,
  peers: [
    {
      publicKey: ONE,
      presharedKey: PSK,
      allowedIps: ['10.77.4.2/32', 'fd00::2/128'],
      endpoint: '[2001:db8::1]:1234',
      rx: 9007199254740993n,
      tx: 18446744073709551615n,
      handshakeAt: 1700000000,
    },
    { publicKey: TWO, presharedKey: null, allowedIps: [], endpoint: null, rx: 0n, tx: 0n, handshakeAt: 0 },
  ],
}

test('the socket’s answer is read with 64-bit counters exact, unknown fields left out and no private key', () => {
  assert.deepEqual(parseGet(GET), STATE)
  assert.deepEqual(parseGet(''), { publicKey: '', listenPort: 0, peers: [] })
  assert.throws(() => parseGet('private_key\n'), DriverFailed)
  assert.throws(() => parseGet('listen_port=1'), DriverFailed)
})

test('the dump of wg gives the same state', () => {
  const dump = [
    [PRIVATE, PUBLIC, '51820', '0x7'],
    [
      ONE,
      PSK,
      '[2001:db8::1]:1234',
      '10.77.4.2/32,fd00::2/128',
      '1700000000',
      '9007199254740993',
      '18446744073709551615',
      'off',
    ],
    [TWO, '(none)', '(none)', '(none)', '0', '0', '0', 'off'],
  ]
  assert.deepEqual(parseDump(dump.map((fields) => `${fields.join('\t')}\n`).join('')), STATE)
  assert.deepEqual(parseDump('(none)\t(none)\t0\toff\n'), { publicKey: '', listenPort: 0, peers: [] })
  assert.throws(() => parseDump(''), DriverFailed)
  assert.throws(() => parseDump('a\tb\t1\toff\nonly one field\n'), DriverFailed)
})

async function writePieces(socket: Socket, answer: string, size: number): Promise<void> {
  for (let at = 0; at < answer.length; at += size) {
    socket.write(answer.slice(at, at + size))
    await pause()
  }
  socket.end()
}

/** A socket that gives `answer` in pieces of `size` bytes and then closes. */
async function aSocket(t: TestContext, answer: string, size = answer.length): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'wg-uapi-'))
  const path = join(folder, 's')
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    void writePieces(socket, answer, size)
  }).listen(path)
  t.after(() => {
    server.close()
    rmSync(folder, { recursive: true })
  })
  await once(server, 'listening')
  return path
}

test('an answer is put together however it is cut', async (t) => {
  for (const size of [1, 2, 7, 64, 4096])
    assert.deepEqual(parseGet(await request(await aSocket(t, `${GET}errno=0\n\n`, size), 'get=1\n\n')), STATE)
})

test('an errno other than 0, a cut-off answer and a dead socket are failures', async (t) => {
  for (const answer of ['errno=-22\n\n', 'errno=1\n\n', 'errno=0\n', 'x=1\n\n', GET])
    await assert.rejects(request(await aSocket(t, answer), 'get=1\n\n'), DriverFailed, answer)
  await assert.rejects(
    request('/nowhere/s', 'get=1\n\n'),
    (err) => err instanceof DriverFailed && (err.cause as NodeJS.ErrnoException).code === 'ENOENT',
  )
})

const aPeer = (publicKey: string): PeerOp => ({ op: 'set', peer: { publicKey, presharedKey: null, allowedIps: [] } })

test('batches keep order and size, and never part two orders about one key', () => {
  const ops = Array.from({ length: 2 * BATCH + 10 }, () => aPeer(generateKeyPair().publicKey))
  const last = ops[BATCH - 1]
  assert.ok(last?.op === 'set')
  ops.splice(BATCH, 0, { op: 'remove', publicKey: last.peer.publicKey }, last)
  const batches = [...batchesOf(ops)]
  assert.deepEqual(batches.flat(), ops)
  assert.deepEqual(
    batches.map((b) => b.length),
    [BATCH + 2, BATCH, 10],
  )
  assert.deepEqual([...batchesOf([])], [])
})

test('orders are checked before the first is carried out, and allowed IPs are written canonically', () => {
  const bad = [
    { op: 'remove', publicKey: `${ONE}\nremove=true` },
    { op: 'mute', publicKey: Buffer.alloc(32).toString('base64') },
    { op: 'set', peer: { publicKey: ONE, presharedKey: `${PSK}\n`, allowedIps: [] } },
    { op: 'set', peer: { publicKey: ONE, presharedKey: null, allowedIps: ['10.0.0.1/32\nallowed_ip=0.0.0.0/0'] } },
    { op: 'set', peer: { publicKey: ONE, presharedKey: null, allowedIps: ['10.0.0.1'] } },
  ] satisfies PeerOp[]
  for (const op of bad) assert.throws(() => batchesOf([aPeer(TWO), op]).next(), InvalidValue)
  const [[written] = []] = [
    ...batchesOf([{ op: 'set', peer: { publicKey: ONE, presharedKey: null, allowedIps: ['FD00:0::2/128'] } }]),
  ]
  assert.deepEqual(written?.op === 'set' && written.peer.allowedIps, ['fd00::2/128'])
})

test('an interface name that could be anything else is refused', async () => {
  for (const name of ['', '..', '.', 'a/b', 'wg 0', 'wg0\n', '../wg0', 'a234567890123456', 'ä']) {
    assert.throws(() => checkInterfaceName(name), InvalidValue, name)
    await assert.rejects(openDriver(name, 'userspace'), InvalidValue, name)
  }
  assert.equal(checkInterfaceName('wg-0_a=+.b'), 'wg-0_a=+.b')
})
