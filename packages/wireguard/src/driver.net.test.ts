import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { afterEach, test } from 'node:test'
import type { Driver, PeerWish } from './driver.ts'
import { DriverFailed, WireguardUnavailable } from './errors.ts'
import { generateKeyPair, generatePresharedKey } from './keys.ts'
import { kernelHasWireguard, readLink, setLink } from './link.ts'
import { openTunnel, type TunnelOptions } from './noise/tunnel.ts'
import { openDriver } from './open-driver.ts'
import { run } from './run.ts'
import { echoRequest, isEchoReply } from './testing/icmp.ts'
import { inNamespace, testInterface } from './testing/namespace.ts'
import { socketPath } from './uapi.ts'

inNamespace(import.meta.filename, ['tun', 'wg', 'wireguard-go'], () => {
  const name = testInterface('a')
  const SCRIPT = new URL('testing/make-interface.ts', import.meta.url).pathname
  const PORT = 51820

  afterEach(async () => {
    for (const backend of ['userspace', 'kernel'] as const) await (await openDriver(name, backend)).destroy()
  })

  const aPeer = (host: number): PeerWish => ({
    publicKey: generateKeyPair().publicKey,
    presharedKey: generatePresharedKey(),
    allowedIps: [`10.99.0.${host}/32`, `fd00:99::${host.toString(16)}/128`],
  })

  /** What `dump` tells of a peer that has never been heard of. */
  const fresh = (peer: PeerWish) => ({ ...peer, endpoint: null, rx: 0n, tx: 0n, handshakeAt: 0 })

  const peersOf = async (driver: Driver) =>
    (await driver.dump()).peers.toSorted((a, b) => (a.publicKey < b.publicKey ? -1 : 1))

  const sorted = (peers: PeerWish[]) => peers.map(fresh).toSorted((a, b) => (a.publicKey < b.publicKey ? -1 : 1))

  const pidOf = (name: string): number =>
    Number(
      readdirSync('/proc').find((pid) => {
        if (!/^\d+$/.test(pid)) return false
        return spawnSync('cat', [`/proc/${pid}/cmdline`]).stdout.toString() === `wireguard-go\0--foreground\0${name}\0`
      }),
    )

  const made: [string, () => Promise<Driver>][] = [
    ['userspace by its socket', () => openDriver(name, 'userspace')],
    ['userspace by wg', () => openDriver(name, 'userspace', { control: 'wg' })],
    ['the kernel by wg', () => openDriver(name, 'kernel')],
  ]

  for (const [title, open] of made) {
    const only = { timeout: 60_000 }
    const skipped = async (): Promise<string | false> =>
      title.startsWith('the kernel') && !(await kernelHasWireguard()) ? 'this kernel has no WireGuard' : false

    test(`${title}: an interface is made once, configured, and goes without a trace`, only, async (t) => {
      const reason = await skipped()
      if (reason) return t.skip(reason)
      const driver = await open()
      const keys = generateKeyPair()
      assert.equal(await driver.exists(), false)
      await driver.create()
      await driver.create()
      assert.equal(await driver.exists(), true)
      assert.equal((await driver.dump()).publicKey, '')
      await driver.configure({ privateKey: keys.privateKey, listenPort: PORT })
      await driver.configure({ privateKey: keys.privateKey, listenPort: PORT })
      assert.deepEqual(await driver.dump(), { publicKey: keys.publicKey, listenPort: PORT, peers: [] })
      assert.ok(!JSON.stringify(await driver.dump()).includes(keys.privateKey))
      await driver.destroy()
      assert.equal(await driver.exists(), false)
      assert.equal(await readLink(name), null)
      await driver.destroy()
      await assert.rejects(driver.dump(), DriverFailed)
    })

    test(`${title}: setting, muting and removing touch the named peers only`, only, async (t) => {
      const reason = await skipped()
      if (reason) return t.skip(reason)
      const driver = await open()
      await driver.create()
      await driver.configure({ privateKey: generateKeyPair().privateKey, listenPort: PORT })
      const [one, two, three] = [aPeer(2), aPeer(3), aPeer(4)]
      await driver.apply([one, two, three].map((peer) => ({ op: 'set', peer })))
      assert.deepEqual(await peersOf(driver), sorted([one, two, three]))

      const changed = { ...two, presharedKey: null, allowedIps: ['10.99.0.33/32'] }
      await driver.apply([{ op: 'set', peer: changed }])
      assert.deepEqual(await peersOf(driver), sorted([one, changed, three]), 'PSK and allowed IPs are replaced')

      const stranger = generateKeyPair().publicKey
      await driver.apply([
        { op: 'mute', publicKey: three.publicKey },
        { op: 'mute', publicKey: stranger },
        { op: 'remove', publicKey: stranger },
      ])
      assert.deepEqual(await peersOf(driver), sorted([one, changed, { ...three, allowedIps: [] }]))

      await driver.apply([
        { op: 'remove', publicKey: one.publicKey },
        { op: 'set', peer: one },
        { op: 'set', peer: three },
        { op: 'remove', publicKey: two.publicKey },
        { op: 'mute', publicKey: two.publicKey },
      ])
      assert.deepEqual(await peersOf(driver), sorted([one, three]), 'orders run in their sequence')
      await driver.apply([])
    })

    test(`${title}: hundreds of peers go in by batches and come out as they were`, only, async (t) => {
      const reason = await skipped()
      if (reason) return t.skip(reason)
      const driver = await open()
      await driver.create()
      const peers = Array.from({ length: 600 }, (_, i) => ({
        ...aPeer(1),
        allowedIps: [`10.100.${i >> 8}.${i & 255}/32`],
      }))
      await driver.apply(peers.map((peer) => ({ op: 'set', peer })))
      assert.deepEqual(await peersOf(driver), sorted(peers))
      await driver.apply(peers.slice(0, 599).map(({ publicKey }) => ({ op: 'remove', publicKey })))
      assert.deepEqual(await peersOf(driver), sorted(peers.slice(599)))
    })

    test(`${title}: a muted peer passes no packet and keeps its counters; set again, it goes on`, only, async (t) => {
      const reason = await skipped()
      if (reason) return t.skip(reason)
      const driver = await open()
      const [keys, client] = [generateKeyPair(), generateKeyPair()]
      await driver.create()
      await driver.configure({ privateKey: keys.privateKey, listenPort: PORT })
      await setLink(name, { addresses: ['10.99.0.1/24'], mtu: 1420 })
      const peer = { publicKey: client.publicKey, presharedKey: generatePresharedKey(), allowedIps: ['10.99.0.2/32'] }
      await driver.apply([{ op: 'set', peer }])

      const o: TunnelOptions = {
        endpoint: { address: '127.0.0.1', port: PORT },
        serverPublicKey: keys.publicKey,
        privateKey: client.privateKey,
        presharedKey: peer.presharedKey,
        timeoutMs: 10_000,
      }
      const tunnel = await openTunnel(o)
      t.after(() => tunnel.close())
      const ping = async (text: string, ms: number): Promise<boolean> => {
        tunnel.send(echoRequest('10.99.0.2', '10.99.0.1', text))
        return isEchoReply(await tunnel.receive(ms), text)
      }
      assert.ok(await ping('before', 5_000))
      const before = (await driver.dump()).peers[0]
      assert.ok(before && before.rx > 0n && before.tx > 0n && before.endpoint !== null)
      assert.ok(Math.abs(before.handshakeAt - Date.now() / 1000) < 30)

      await driver.apply([{ op: 'mute', publicKey: client.publicKey }])
      await assert.rejects(ping('muted', 150), { code: 'HANDSHAKE_FAILED' })
      const muted = (await driver.dump()).peers[0]
      assert.ok(muted && muted.rx >= before.rx && muted.tx >= before.tx)
      assert.deepEqual(muted.allowedIps, [])

      await driver.apply([{ op: 'set', peer }])
      assert.ok(await ping('after', 5_000), 'the session has survived')

      await driver.apply([
        { op: 'remove', publicKey: client.publicKey },
        { op: 'set', peer },
      ])
      assert.deepEqual((await driver.dump()).peers, [fresh(peer)], 'endpoint and counters are forgotten')
      await assert.rejects(ping('forgotten', 150), { code: 'HANDSHAKE_FAILED' })
    })

    test(`${title}: the identity stays while the interface does and changes with it`, only, async (t) => {
      const reason = await skipped()
      if (reason) return t.skip(reason)
      const driver = await open()
      await driver.create()
      const first = await driver.identity()
      await driver.create()
      await driver.configure({ privateKey: generateKeyPair().privateKey, listenPort: PORT })
      assert.equal(await driver.identity(), first)
      assert.equal(await (await open()).identity(), first)
      await driver.destroy()
      await assert.rejects(driver.identity(), WireguardUnavailable)
      await driver.create()
      assert.notEqual(await driver.identity(), first)
    })
  }

  test('a tunnel with a wrong preshared key is not made', async () => {
    const driver = await openDriver(name, 'userspace')
    const [keys, client] = [generateKeyPair(), generateKeyPair()]
    await driver.create()
    await driver.configure({ privateKey: keys.privateKey, listenPort: PORT })
    await setLink(name, { addresses: ['10.99.0.1/24'], mtu: 1420 })
    const peer = { publicKey: client.publicKey, presharedKey: generatePresharedKey(), allowedIps: ['10.99.0.2/32'] }
    await driver.apply([{ op: 'set', peer }])
    const endpoint = { address: '127.0.0.1', port: PORT }
    const o = { endpoint, serverPublicKey: keys.publicKey, privateKey: client.privateKey, timeoutMs: 200 }
    await assert.rejects(openTunnel({ ...o, presharedKey: null }), { code: 'HANDSHAKE_FAILED' })
  })

  test('addresses, MTU and state of the interface are brought to what is wanted', async () => {
    const driver = await openDriver(name, 'userspace')
    await driver.create()
    await setLink(name, { addresses: ['10.99.0.1/24', 'FD00:99:0::1/64'], mtu: 1400 })
    await setLink(name, { addresses: ['10.99.1.1/24', 'fd00:99::1/64'], mtu: 1300 })
    const link = await readLink(name)
    assert.deepEqual(link?.addresses.toSorted(), ['10.99.1.1/24', 'fd00:99::1/64'])
    assert.equal(link.mtu, 1300)
    assert.equal(link.up, true)
    await assert.rejects(setLink(`${name.slice(0, 10)}none`, { addresses: [], mtu: 1400 }), WireguardUnavailable)
  })

  test('wireguard-go outlives its maker, in a session of its own, with nothing of ours', async () => {
    const env = { ...process.env, SECRET_OF_OURS: 'x' }
    const made = spawnSync(process.execPath, [SCRIPT, name], { env, encoding: 'utf8' })
    assert.equal(made.stdout, 'made\n', made.stderr)
    const driver = await openDriver(name, 'auto')
    assert.equal(driver.backend, 'userspace')
    assert.equal(await driver.exists(), true)
    const pid = pidOf(name)
    const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0')
    const names = environment.map((line) => line.split('=')[0])
    // Node itself hands NODE_V8_COVERAGE on while coverage is taken.
    assert.deepEqual(
      names.filter((name) => name && name !== 'NODE_V8_COVERAGE'),
      ['PATH', 'LOG_LEVEL'],
    )
    const session = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[3]
    assert.equal(Number(session), pid)
    assert.equal(readlinkSync(`/proc/${pid}/cwd`), '/')
    for (const fd of [0, 1, 2]) assert.equal(readlinkSync(`/proc/${pid}/fd/${fd}`), '/dev/null')
  })

  test('after wireguard-go was killed its stale socket is no obstacle', async () => {
    const driver = await openDriver(name, 'userspace')
    await driver.create()
    const first = await driver.identity()
    process.kill(pidOf(name), 'SIGKILL')
    while (await readLink(name)) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.ok(readdirSync('/var/run/wireguard').includes(`${name}.sock`))
    assert.equal(await driver.exists(), false)
    await assert.rejects(driver.dump(), DriverFailed)
    await driver.create()
    assert.equal(await driver.exists(), true)
    assert.notEqual(await driver.identity(), first)
  })

  test('destroying takes a stale socket away', async () => {
    const driver = await openDriver(name, 'userspace')
    await driver.create()
    process.kill(pidOf(name), 'SIGKILL')
    while (await readLink(name)) await new Promise((resolve) => setTimeout(resolve, 5))
    await driver.destroy()
    assert.ok(!readdirSync('/var/run/wireguard').includes(`${name}.sock`))
  })

  test('a name that another interface has is refused by both backends, and the interface is left alone', async () => {
    await run('ip', ['tuntap', 'add', 'dev', name, 'mode', 'tun'])
    for (const backend of ['userspace', 'kernel'] as const) {
      const driver = await openDriver(name, backend)
      await assert.rejects(driver.create(), { reason: 'name-taken' })
      assert.equal(await driver.exists(), false)
      await driver.destroy()
      assert.equal((await readLink(name))?.kind, 'tun')
    }
    await run('ip', ['link', 'delete', 'dev', name])
  })

  test('a wireguard-go of another namespace with this name is told apart', async () => {
    const elsewhere = spawnSync('unshare', ['--net', process.execPath, SCRIPT, name], { encoding: 'utf8' })
    assert.equal(elsewhere.stdout, 'made\n', elsewhere.stderr)
    const driver = await openDriver(name, 'userspace')
    try {
      assert.equal(await driver.exists(), false)
      await assert.rejects(driver.create(), { reason: 'name-taken' })
    } finally {
      process.kill(pidOf(name), 'SIGKILL')
    }
  })

  test('what the machine lacks is said: rights, /dev/net/tun, kernel support', async (t) => {
    // Without capabilities rather than as another user, who might not be let into the folder of this file.
    const powerless = ['--bounding-set=-all', '--inh-caps=-all', process.execPath, SCRIPT, name]
    assert.equal(spawnSync('setpriv', powerless, { encoding: 'utf8' }).stdout, 'no-permission\n')
    const hidden = ['--mount', process.execPath, SCRIPT, name, 'hide-tun']
    assert.equal(spawnSync('unshare', hidden, { encoding: 'utf8' }).stdout, 'no-tun\n')
    if (await kernelHasWireguard()) return t.diagnostic('this kernel has WireGuard')
    await assert.rejects((await openDriver(name, 'kernel')).create(), { reason: 'no-kernel-support' })
  })

  test('a socket file where nobody listens counts as not existing', async () => {
    writeFileSync(socketPath(name), '')
    assert.equal(await (await openDriver(name, 'userspace')).exists(), false)
  })
})
