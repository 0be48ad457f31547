import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseConfig } from '@prime-vpn/wireguard'
import type { Connection, User } from './api.ts'
import { eventually } from './node-agent-process.ts'
import { Place } from './node-lab.ts'
import { HOST, HOST_6, NODE_OUTER, World, type Customer } from './world.ts'

type Tunnel = { user: User; connection: Connection; customer: Customer; place: Place }

const places: Place[] = []
let world: World
let serverId = ''
let alice: Tunnel
let bob: Tunnel
let outside: Place

function placeIn(space: { name: string }): Place {
  const place = new Place(space.name)
  places.push(place)
  return place
}

async function aTunnel(n: number): Promise<Tunnel> {
  const user = await world.api.user()
  const connection = await user.connect()
  const customer = world.customer(n)
  customer.up(connection.wg_config)
  return { user, connection, customer, place: placeIn(customer.space) }
}

before(async () => {
  world = new World()
  await world.startServer()
  serverId = await world.joinNode()
  await world.startWeb()
  alice = await aTunnel(1)
  bob = await aTunnel(2)
  outside = placeIn(world.outside)
  for (const { customer } of [alice, bob]) assert.equal(customer.download(10_000), 10_000)
})
after(async () => {
  for (const place of places) place.close()
  await world.close()
})

/** Counts packets in a namespace that match; returns a reader. */
function counter(space: { run(...args: string[]): string }, name: string, hook: string, match: string): () => number {
  space.run('nft', `table inet ${name} { counter c { }; chain x { type filter hook ${hook} priority -400; ${match} counter name c; }; }`) // prettier-ignore
  return () => Number(/"packets": (\d+)/.exec(space.run('nft', '-j', 'list', 'counters', 'table', 'inet', name))?.[1])
}

test('on the uplink of a customer with the stock tools nothing goes but UDP to the endpoint', async () => {
  const { space } = alice.customer
  const args = ['netns', 'exec', space.name, 'tcpdump', '-i', 'up0', '-nn', '-l', '-Q', 'out', '--immediate-mode']
  const sniffer = spawn('ip', [...args, 'ip or ip6'], { stdio: ['ignore', 'pipe', 'pipe'] })
  let seen = ''
  let ready = false
  sniffer.stdout.on('data', (chunk: Buffer) => (seen += chunk.toString()))
  sniffer.stderr.on('data', (chunk: Buffer) => (ready ||= chunk.toString().includes('listening on')))
  await eventually('the sniffer listens', () => ready)
  assert.equal(alice.customer.download(200_000), 200_000)
  assert.equal(alice.customer.download(50_000, HOST_6), 50_000)
  assert.ok(alice.customer.upload(50_000))
  for (const to of ['1.1.1.1', HOST, '2606:4700:4700::1111']) await alice.place.udpSend(to, 53, 'a name?')
  // Hosts of the uplink's own network stay reachable beside wg-quick's tunnel (TunnelCrack, LocalNet): see the docs.
  for (const to of ['192.168.1.1', '10.0.0.1', '2001:db8::1', 'fd00::1']) {
    await alice.place.udpSend(to, 9, 'anything')
    await alice.place.tcpConnect(to, 443, { waitMs: 100 })
  }
  alice.customer.pings('8.8.8.8', 1)
  await sleep(300)
  sniffer.kill('SIGTERM')
  const lines = seen.split('\n').filter((line) => / IP6? /.test(line))
  assert.ok(lines.length > 100, `${lines.length} packets`)
  // Neighbour discovery of the link itself stays on it.
  const ours = lines.filter((line) => !/ICMP6, (neighbor|router) (solicitation|advertisement)|multicast listener/.test(line)) // prettier-ignore
  const foreign = ours.filter((line) => !line.includes(`> ${NODE_OUTER}.51820: UDP`))
  assert.deepEqual(foreign, [])
})

test('a packet with a source that is not the sender passes nowhere, whichever it is', async () => {
  const watched = counter(world.outside, 'spoof', 'prerouting', 'udp dport 4242')
  await alice.place.udpSend(HOST, 4242, 'own')
  await alice.place.udpSend(HOST_6, 4242, 'own')
  await eventually('the own address passes', () => watched() === 2)
  const wg = alice.customer.interface
  const own = alice.connection.assigned_ip.split('.').slice(0, 3).join('.')
  const sources = [bob.connection.assigned_ip, `${own}.1`, NODE_OUTER, HOST, '172.16.0.9', '192.0.2.9', '10.250.0.1']
  for (const from of sources) {
    alice.customer.space.ip('address', 'add', `${from}/32`, 'dev', wg)
    await alice.place.udpSend(HOST, 4242, 'spoofed', { from })
    alice.customer.space.ip('address', 'del', `${from}/32`, 'dev', wg)
  }
  for (const from of [bob.connection.assigned_ipv6, '2001:db8:9::10', '2001:db8:77::1']) {
    alice.customer.space.ip('address', 'add', `${from}/128`, 'dev', wg, 'nodad')
    await alice.place.udpSend(HOST_6, 4242, 'spoofed', { from })
    alice.customer.space.ip('address', 'del', `${from}/128`, 'dev', wg)
  }
  await sleep(200)
  assert.equal(watched(), 2)
  assert.equal(alice.customer.download(1_000), 1_000, 'and Alice goes on')
  assert.equal(bob.customer.download(1_000), 1_000, 'and Bob has kept his address')
})

test('whoever stands outside finds out nothing about a tunnel: no answer, no reset, nothing forwarded', async () => {
  const { assigned_ip, assigned_ipv6 } = alice.connection
  const inside = counter(alice.customer.space, 'probe', 'prerouting', `iifname "${alice.customer.interface}" udp dport 4243`) // prettier-ignore
  const answers = counter(world.outside, 'probe', 'prerouting', `ip saddr { ${assigned_ip} } `)
  world.outside.ip('route', 'add', `${assigned_ip}/32`, 'via', NODE_OUTER)
  world.outside.ip('-6', 'route', 'add', `${assigned_ipv6}/128`, 'via', '2001:db8:9::10')
  await alice.place.udpListen('0.0.0.0', 4243)
  await alice.place.tcpListen('0.0.0.0', 4244)
  for (const to of [assigned_ip, assigned_ipv6]) {
    await outside.udpSend(to, 4243, 'probe')
    for (const port of [4244, 4245, 80])
      assert.equal(await outside.tcpConnect(to, port, { waitMs: 300 }), 'timeout', `${to} ${port}`)
    assert.equal(world.outside.does('ping', '-c', '1', '-W', '1', to), false)
  }
  assert.deepEqual(await alice.place.received(), [])
  assert.deepEqual([inside(), answers()], [0, 0])
})

test('ranges that are closed are closed for the real customer too, in both families', async () => {
  const forwarded = counter(world.node, 'closed', 'postrouting', 'udp dport 4246')
  for (const to of [
    '10.1.2.3',
    '100.64.0.1',
    '127.0.0.1',
    '169.254.169.254',
    '172.16.0.1',
    '192.168.0.1',
    '10.250.0.1',
    '224.0.0.251',
    '255.255.255.255',
  ])
    // prettier-ignore
    await alice.place.udpSend(to, 4246, 'hello')
  for (const to of ['fd00::1', 'fe80::1', '::ffff:10.0.0.1', '64:ff9b::a00:1', '2002:a00:1::1', 'ff02::fb', 'fec0::1'])
    await alice.place.udpSend(to, 4246, 'hello')
  await alice.place.udpSend(HOST, 4246, 'open')
  await eventually('what is open passes', () => forwarded() === 1)
  await sleep(100)
  assert.equal(forwarded(), 1)
  assert.equal(await alice.place.tcpConnect('10.250.0.1', 8000, { waitMs: 400 }), 'timeout', "the control plane's private address") // prettier-ignore
})

const HOSTILE = [
  '; # [Peer] PostUp=id',
  '$(touch /tmp/owned)',
  '`id`',
  '--option',
  '%s%n',
  '"; filename=x.exe',
  '<b>&amp;',
  "' or 1=1 --",
]
const FORBIDDEN = ['\n', '\r', '\u2028', '\u0085', '\0', '\u202e'].map((sign) => `a${sign}PostUp = id`)

test('no text that anybody can set reaches the conf, the firewall or the interface', async () => {
  const user = await world.api.user()
  const call = (method: string, path: string, body: unknown) => world.api.call<{ id: string }>(method, path, user.token, body) // prettier-ignore
  const rules = (): string => world.node.run('nft', 'list', 'ruleset').replaceAll(/packets \d+ bytes \d+/g, '')
  const before = rules()
  for (const text of FORBIDDEN) {
    for (const field of ['name', 'platform'])
      assert.equal((await call('POST', '/users/me/devices', { name: 'a', platform: 'b', [field]: text })).status, 400)
    assert.equal((await call('POST', '/vpn/connect', { location: text })).status, 400)
    for (const field of ['city', 'country', 'location', 'hostname', 'endpoint'])
      await assert.rejects(world.api.admin('PATCH', `/admin/servers/${serverId}`, { [field]: text }), /: 400 /)
  }
  for (const text of HOSTILE) {
    await world.api.admin('PATCH', `/admin/servers/${serverId}`, { city: text, country: text, location: text })
    const { body: device } = await call('POST', '/users/me/devices', { name: text, platform: text })
    const made = await world.api.must<{ config: string; filename: string }>('POST', `/users/me/devices/${device.id}/config`, user.token, { location: text }) // prettier-ignore
    parseConfig(made.config)
    assert.match(made.filename, /^prime-[a-z0-9]+\.conf$/)
    const keys = made.config.split('\n').map((line) => line.split(' = ')[0]).filter(Boolean) // prettier-ignore
    assert.deepEqual(keys, ['[Interface]', 'PrivateKey', 'Address', 'DNS', 'MTU', '[Peer]', 'PublicKey', 'PresharedKey', 'Endpoint', 'AllowedIPs', 'PersistentKeepalive']) // prettier-ignore
    assert.equal((await call('DELETE', `/users/me/devices/${device.id}`, undefined)).status, 204)
  }
  assert.equal(rules(), before)
  assert.doesNotMatch(world.node.run('wg', 'showconf', world.wg), /PostUp|\$\(|filename/)
})
