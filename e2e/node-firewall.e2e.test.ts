import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openDriver, type Driver } from '@prime-vpn/wireguard'
import { flushFlows } from '../apps/node/src/conntrack.ts'
import { applyFirewall, dropCounts, removeFirewall } from '../apps/node/src/firewall.ts'
import { flusherOf } from '../apps/node/src/flusher.ts'
import { knowing } from '../apps/node/src/held-keys.ts'
import { newIdentity, publicKeys, type Identity } from '../apps/node/src/identity.ts'
import { kernelQueue } from '../apps/node/src/kernel-queue.ts'
import { bringUp, rulesFor } from '../apps/node/src/machine.ts'
import { Lab, sh, type Customer } from './node-lab.ts'

const config = {
  addresses: ['10.77.4.1/22', 'fd77:4::1/64'],
  listen_port: 51820,
  mtu: 1420,
  dns: ['10.77.4.1'],
  open: ['192.168.50.3'],
}
const OUTSIDE = '203.0.113.2'
const NODE_OUTSIDE = '203.0.113.1'

let lab: Lab
let identity: Identity
let driver: Driver
let alice: Customer
let bob: Customer

const addressesOf = (c: Customer): string[] => [`10.77.4.${c.slot}/32`, `fd77:4::${c.slot}/128`]
const admit = (c: Customer): Promise<void> =>
  driver.apply([
    { op: 'set', peer: { publicKey: c.publicKey, presharedKey: c.presharedKey, allowedIps: addressesOf(c) } },
  ])
const texts = (list: { text: string }[]): string[] => list.map(({ text }) => text)

before(async () => {
  lab = new Lab()
  identity = newIdentity({
    control_url: 'http://127.0.0.1',
    interface: lab.wg,
    backend: 'userspace',
    token_digest: '0'.repeat(64),
  })
  driver = await openDriver(lab.wg, 'userspace')
  await bringUp({ identity, config, dataDir: lab.dir, driver })
  const { wireguard } = publicKeys(identity)
  ;[alice, bob] = await Promise.all([
    lab.customer(2, wireguard, admit, { mtu: 1500 }),
    lab.customer(3, wireguard, admit),
  ])
  await lab.outside.udpListen('0.0.0.0', 7)
  await lab.outside.udpListen('::', 7)
  await lab.outside.tcpListen('::', 443)
  // A fresh veth is ready for IPv6 only when the kernel's watch over carriers has come by.
  for (let i = 0; i < 40 && (await lab.outside.received(50)).length === 0; i++)
    await alice.place.udpSend('2001:db8:9::2', 7, 'warm')
  await lab.outside.received(300)
})

after(async () => {
  await driver.destroy()
  await removeFirewall(lab.wg)
  lab.close()
})

test('a customer reaches the outside by both families and is seen there only as the node', async () => {
  await alice.place.udpSend(OUTSIDE, 7, 'four')
  await alice.place.udpSend('2001:db8:9::2', 7, 'six')
  assert.equal(await alice.place.tcpConnect(OUTSIDE, 443), 'open')
  assert.equal(await alice.place.tcpConnect('2001:db8:9::2', 443), 'open')
  const heard = await lab.outside.received()
  assert.deepEqual(texts(heard).toSorted(), ['four', 'six'])
  assert.deepEqual(heard.map(({ from }) => from.replace('::ffff:', '')).toSorted(), ['2001:db8:9::1', NODE_OUTSIDE])
  assert.equal(lab.leaked(), 0)
})

test('against a plain masquerade the port shadow attack works, so this lab would show it', async () => {
  const rules = await rulesFor({ identity, config })
  await removeFirewall(lab.wg)
  sh(
    'nft',
    `table ip naive { chain p { type nat hook postrouting priority srcnat; ip saddr 10.77.4.0/22 oifname != "${lab.wg}" masquerade; }; }`,
  )
  await alice.place.udpSend(OUTSIDE, 7, 'shadow', { port: 40_000 })
  assert.equal((await lab.outside.received())[0]?.fromPort, 40_000)
  await lab.outside.udpSend(NODE_OUTSIDE, 40_000, 'stolen', { port: 7 })
  assert.deepEqual(texts(await alice.place.received()), ['stolen'])
  sh('nft', 'delete table ip naive')
  sh('conntrack', '-F')
  await applyFirewall(rules, lab.dir)
})

test('a port of the node cannot be shadowed: what is sent to it arrives there and not at a customer', async () => {
  await lab.node.udpListen('0.0.0.0', 40_000)
  await alice.place.udpSend(OUTSIDE, 7, 'shadow', { port: 40_000 })
  const [seen] = await lab.outside.received()
  assert.equal(seen?.text, 'shadow')
  assert.notEqual(seen?.fromPort, 40_000)
  assert.ok(seen && seen.fromPort >= 1024 && seen.fromPort < 51_820, 'taken from the range without our own ports')
  await lab.outside.udpSend(NODE_OUTSIDE, 40_000, 'for the node', { port: 7 })
  assert.deepEqual(texts(await lab.node.received()), ['for the node'])
  assert.deepEqual(await alice.place.received(0), [])
})

test("packets with the tunnel port as source go nowhere, and the tunnel's own are not tracked", async () => {
  await alice.place.udpSend(OUTSIDE, 7, 'handshake bait', { port: 51_820 })
  assert.deepEqual(await lab.outside.received(), [])
  assert.equal((await dropCounts(lab.wg)).port_shadow, 1)
  await lab.outside.udpSend(NODE_OUTSIDE, 51_820, 'noise')
  assert.doesNotMatch(sh('conntrack', '-L', '-p', 'udp'), /dport=51820/)
})

test('customers do not reach each other, not by the tunnel and not by the public address of the node', async () => {
  await bob.place.udpListen('::', 9)
  await alice.place.udpSend('10.77.4.3', 9, 'direct')
  await alice.place.udpSend('fd77:4::3', 9, 'direct')
  await bob.place.udpSend(OUTSIDE, 7, 'open a flow', { port: 9 })
  const [flow] = await lab.outside.received()
  await alice.place.udpSend(NODE_OUTSIDE, flow?.fromPort ?? 0, 'hairpin')
  assert.deepEqual(await bob.place.received(), [])
  const drops = await dropCounts(lab.wg)
  assert.equal(drops.peer_to_peer, 2)
  assert.ok((drops.local_service ?? 0) >= 1)
})

test("the node's own services are closed to customers at each of its addresses", async () => {
  await lab.node.tcpListen('::', 8022)
  for (const address of ['10.77.4.1', NODE_OUTSIDE, '192.168.50.1', 'fd77:4::1', '2001:db8:9::1'])
    assert.equal(await alice.place.tcpConnect(address, 8022, { waitMs: 250 }), 'timeout', address)
  assert.equal(await lab.outside.tcpConnect(NODE_OUTSIDE, 8022), 'open', 'the service itself works')
})

test('the resolver at the tunnel address answers, and nothing else there does', async () => {
  await lab.node.udpListen('10.77.4.1', 53)
  await lab.node.udpListen('10.77.4.1', 54)
  await alice.place.udpSend('10.77.4.1', 53, 'name?')
  await alice.place.udpSend('10.77.4.1', 54, 'other')
  assert.deepEqual(texts(await lab.node.received()), ['name?'])
})

test('private, link-local and metadata addresses behind the node are closed; a named one is open', async () => {
  await lab.inside.tcpListen('::', 80)
  for (const address of ['192.168.50.2', '169.254.169.254', 'fd50::2'])
    assert.equal(await alice.place.tcpConnect(address, 80, { waitMs: 250 }), 'timeout', address)
  assert.equal(await alice.place.tcpConnect('192.168.50.3', 80), 'open')
  assert.ok(((await dropCounts(lab.wg)).closed_range ?? 0) >= 3)
})

test('mail to port 25 is refused at once, to 443 it is not', async () => {
  await lab.outside.tcpListen('::', 25)
  assert.equal(await alice.place.tcpConnect(OUTSIDE, 25), 'ECONNREFUSED')
  assert.equal(await alice.place.tcpConnect(OUTSIDE, 443), 'open')
})

test('probes from outside for tunnel addresses find nobody, whether a flow is open or not', async () => {
  const before = (await dropCounts(lab.wg)).off_path ?? 0
  await alice.place.udpListen('10.77.4.2', 9)
  await alice.place.tcpListen('10.77.4.2', 9)
  await lab.outside.udpSend('10.77.4.2', 9, 'probe')
  assert.equal(await lab.outside.tcpConnect('10.77.4.2', 9, { waitMs: 250 }), 'timeout')
  assert.equal(await lab.outside.tcpConnect('10.77.4.1', 8022, { waitMs: 250 }), 'timeout')
  assert.deepEqual(await alice.place.received(), [])
  assert.ok(((await dropCounts(lab.wg)).off_path ?? 0) >= before + 3)
})

test('a neighbour who asks by ARP for a tunnel address hears nothing, for the public one the node', async () => {
  lab.outside.ip('route', 'add', '10.77.4.1/32', 'dev', 'up0')
  await lab.outside.udpSend('10.77.4.1', 9, 'who has?')
  await lab.outside.udpSend(NODE_OUTSIDE, 9, 'who has?')
  await lab.outside.received()
  assert.doesNotMatch(lab.outside.ip('neigh', 'show', '10.77.4.1'), /lladdr/)
  assert.match(lab.outside.ip('neigh', 'show', NODE_OUTSIDE), /lladdr/)
  lab.outside.ip('route', 'del', '10.77.4.1/32', 'dev', 'up0')
})

test('a segment size is cut to what the tunnel carries', async () => {
  lab.outside.exec(
    'nft',
    'table inet mss { counter big { }; chain in { type filter hook prerouting priority raw; tcp flags & (syn | rst) == syn tcp option maxseg size > 1380 counter name big; }; }',
  )
  assert.equal(await alice.place.tcpConnect(OUTSIDE, 443), 'open')
  assert.match(lab.outside.exec('nft', 'list', 'counter', 'inet', 'mss', 'big'), /packets 0 /)
})

test('IPv6 without a way out is refused at once instead of hanging', async () => {
  assert.equal(await alice.place.tcpConnect('2600::1', 443, { waitMs: 2_000 }), 'ENETUNREACH')
})

test('one customer cannot take more flows than his share, and the others go on', async () => {
  const rules = await rulesFor({ identity, config })
  await applyFirewall({ ...rules, flowsPerPeer: 50 }, lab.dir)
  sh('conntrack', '-F')
  await alice.place.order({ do: 'flows', to: OUTSIDE, toPort: 7, count: 300 })
  await lab.outside.received()
  const flows = sh('conntrack', '-L', '-s', '10.77.4.2')
    .split('\n')
    .filter((line) => line.includes('src=10.77.4.2')).length
  assert.ok(flows > 40 && flows <= 51, `${flows} flows`)
  await bob.place.udpSend(OUTSIDE, 7, 'bob')
  assert.deepEqual(texts(await lab.outside.received()), ['bob'])
  await applyFirewall(rules, lab.dir)
})

test('a removed customer is silent both ways, also in open flows, and the next holder hears nothing of him', async () => {
  await alice.place.tcpConnect(OUTSIDE, 443, { keep: true })
  await alice.place.udpSend(OUTSIDE, 7, 'mine', { port: 5_555 })
  const [flow] = await lab.outside.received()
  const outcome = await remove(alice)
  assert.equal(outcome.ok, true)
  assert.ok((outcome.last?.tx ?? 0n) > 0n, 'the last counters were read')
  assert.doesNotMatch(sh('conntrack', '-L', '-s', '10.77.4.2'), /10\.77\.4\.2/)
  await alice.place.udpSend(OUTSIDE, 7, 'after', { port: 5_555 })
  assert.deepEqual(await lab.outside.received(), [])

  const next = { ...bob, slot: 2 }
  await admit({ ...next, publicKey: bob.publicKey })
  bob.place.ip('address', 'add', '10.77.4.2/32', 'dev', bob.interface)
  await bob.place.udpListen('10.77.4.2', 5_555)
  await lab.outside.udpSend(NODE_OUTSIDE, flow?.fromPort ?? 0, 'stray', { port: 7 })
  await lab.outside.order({ do: 'say', text: 'stray' })
  assert.deepEqual(await bob.place.received(), [])
  assert.deepEqual(await alice.place.received(0), [])
})

test('with the tunnel process dead nothing from or to the pool passes by another way', async () => {
  await admit(bob)
  await bob.place.udpSend(OUTSIDE, 7, 'alive', { port: 6_666 })
  const [flow] = await lab.outside.received()
  assert.equal(flow?.text, 'alive')
  await driver.destroy()
  await lab.outside.udpSend(NODE_OUTSIDE, flow?.fromPort ?? 0, 'answer', { port: 7 })
  await lab.outside.received()
  assert.equal(lab.leaked(), 0)
})

async function remove(c: Customer): Promise<{ ok: boolean; last?: { tx: bigint } | null }> {
  return new Promise((resolve) => {
    const queue = kernelQueue({
      driver: knowing(driver),
      flusher: flusherOf((addresses) => flushFlows(addresses, lab.dir)),
      done: (_batch, [result]) => resolve(result ?? { ok: false }),
    })
    queue.push(1, [{ op: 'remove', slot: c.slot, version: 1, public_key: c.publicKey, allowed_ips: addressesOf(c) }])
  })
}
