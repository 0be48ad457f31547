import assert from 'node:assert/strict'
import { statSync, writeFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { NodeConfig } from '@prime-vpn/node-protocol'
import { FakeControl, snapshot } from '../apps/node/src/testing/fake-control.ts'
import type { WebSocket } from 'ws'
import { AgentProcess, eventually, prime } from './node-agent-process.ts'
import { Lab, sh, type Customer } from './node-lab.ts'

const config: NodeConfig = {
  addresses: ['10.77.4.1/22', 'fd77:4::1/64'],
  listen_port: 51820,
  mtu: 1420,
  dns: ['10.77.4.1'],
  open: [],
}
const OUTSIDE = '203.0.113.2'

let lab: Lab
let control: FakeControl
let agent: AgentProcess
let alice: Customer
let untouched: string
let dir: string

const joining = (): AgentProcess =>
  new AgentProcess([
    'join',
    control.url,
    control.token,
    '--interface',
    lab.wg,
    '--data-dir',
    dir,
    '--backend',
    'userspace',
  ])
const peerOf = (c: Customer, slot = c.slot, version = 1) => ({
  slot,
  version,
  peer: {
    public_key: c.publicKey,
    preshared_key: c.presharedKey,
    allowed_ips: [`10.77.4.${slot}/32`, `fd77:4::${slot}/128`],
  },
})
const machine = (): string =>
  [
    sh('nft', 'list', 'ruleset'),
    sh('ip', 'address'),
    sh('ip', 'route', 'show', 'table', 'all'),
    sh('ip', '-6', 'route', 'show', 'table', 'all'),
    sh('ip', 'rule'),
    sh('sysctl', '-a', '--pattern', String.raw`^net\.ipv[46]\.(conf|ip_forward)`),
  ]
    .join('\n')
    // Lifetimes, counters of the kernel's caches and automatic link-local details change by themselves.
    .replaceAll(/expires \d+sec|valid_lft \S+|preferred_lft \S+/g, '')

before(async () => {
  lab = new Lab()
  dir = join(lab.dir, 'state')
  sh('nft', 'table ip others { chain f { type filter hook forward priority 0; ip saddr 172.30.0.0/16 accept; }; }')
  sh('sysctl', '-qw', 'net.ipv4.conf.all.accept_redirects=0')
  control = await FakeControl.start('127.0.0.1', 0, config)
  await new Promise((resolve) => void setTimeout(resolve, 1_100)) // fresh veths settle
  untouched = machine()
  agent = joining()
  await control.hear('auth')
  const nodeKey = control.enrolments[0]?.public_key ?? ''
  alice = await lab.customer(2, nodeKey, async (c) => {
    control.send(snapshot(1, [peerOf(c)]))
    await control.hear('applied', ({ revision, complete }) => revision === '1' && complete)
  })
  await lab.outside.udpListen('0.0.0.0', 7)
})

after(async () => {
  await agent.stop('SIGKILL')
  await control.close()
  lab.close()
})

test('the node tells where its customers come out: the addresses of its uplink, once', async () => {
  await control.hear('exits')
  const told = control.heard.flatMap((message) => (message.type === 'exits' ? [message.addresses] : []))
  assert.deepEqual(told, [['203.0.113.1']])
})

/** True when a packet of Alice arrives outside, under the node's address. */
async function passes(): Promise<boolean> {
  await alice.place.udpSend(OUTSIDE, 7, 'hello')
  return (await lab.outside.received(60)).some(({ text, from }) => text === 'hello' && from === '203.0.113.1')
}

test('one command enrols, brings the tunnel up and holds the link', async () => {
  await eventually('traffic passes', passes)
  const [request] = control.enrolments
  assert.equal(request?.backend, 'userspace')
  const status = await prime('status', '--json', '--data-dir', dir)
  assert.equal(status.code, 0)
  const state = JSON.parse(status.stdout) as Record<string, unknown>
  assert.deepEqual([state['running'], state['link'], state['peers'], state['revision']], [true, 'up', 1, '1'])
})

test('keys and state lie in a closed directory, and no TCP port is opened', async () => {
  assert.equal(statSync(dir).mode & 0o777, 0o700)
  for (const name of await readdir(dir)) assert.equal(statSync(join(dir, name)).mode & 0o077, 0, name)
  assert.ok(!sh('ss', '-Hltunp').includes(`pid=${agent.child.pid},`))
  const log = agent.said
  const identity = JSON.parse(await readFile(join(dir, 'identity.json'), 'utf8')) as Record<string, string>
  for (const secret of [identity['wireguard_key'], identity['identity_key'], alice.publicKey, alice.presharedKey])
    assert.ok(secret && !log.includes(secret), 'neither keys of the node nor of a customer are logged')
})

test('a second agent on the same directory is refused, and a second join with the same token joins once', async () => {
  const second = await joining().ended
  assert.equal(second.code, 4)
  assert.match(second.stderr, /another agent \(pid \d+\) runs/)
  assert.equal(control.enrolments.length, 1)
})

test('killed without warning, the tunnel goes on, and the agent that follows resumes without touching a peer', async () => {
  await agent.stop('SIGKILL')
  await eventually('traffic passes', passes)
  const before = sh('wg', 'show', lab.wg, 'latest-handshakes')
  control.heard = []
  agent = new AgentProcess(['run', '--data-dir', dir])
  const auth = await control.hear('auth')
  assert.deepEqual(auth.resume, { installation: control.installation, revision: '1' })
  await eventually('traffic passes', passes)
  assert.equal(sh('wg', 'show', lab.wg, 'latest-handshakes'), before)
  assert.match(
    sh('wg', 'show', lab.wg, 'preshared-keys'),
    new RegExp(alice.presharedKey.replaceAll('+', String.raw`\+`)),
  )
})

test('what a hostile control plane sends costs a closed link at most, and tunnels go on', async () => {
  const harmless: [string, (socket: WebSocket) => void][] = [
    [
      'an empty list that is not complete',
      (socket) => socket.send(JSON.stringify({ ...snapshot(9, []), complete: false })),
    ],
    ['a wrong count', (socket) => socket.send(JSON.stringify({ ...snapshot(9, []), count: 3 }))],
    ['brackets', (socket) => socket.send('['.repeat(16 * 1024 * 1024))],
    ['lists without end', (socket) => socket.send(`[${'[],'.repeat(4 * 1024 * 1024)}[]]`)],
    ['binary', (socket) => socket.send(Buffer.alloc(1024))],
    ['a flood of pings', (socket) => times(20_000, () => socket.ping())],
    ['__proto__', (socket) => socket.send('{"type":"changes","__proto__":{},"since":"0","revision":"9","changes":[]}')],
  ]
  for (const [name, attack] of harmless) {
    if (control.socket) attack(control.socket)
    await eventually(`traffic passes after ${name}`, passes)
    assert.equal(agent.child.exitCode, null, name)
  }
  control.heard = []
  times(20_000, () => control.socket?.send('[', { fin: false }))
  await control.hear('auth')
  await eventually('traffic passes', passes)
  assert.ok((await agent.memory()) < 400 * 1024 * 1024)
})

test('a removed peer is told with its last counters, after the last packet has passed', async () => {
  control.send({ type: 'changes', since: '1', revision: '2', changes: [{ slot: 2, version: 2, peer: null }] })
  const began = performance.now()
  const { slots } = await control.hear('applied', ({ slots }) => slots.some(({ version }) => version === 2))
  assert.ok(performance.now() - began < 1_000)
  assert.equal(slots[0]?.held, false)
  assert.ok(BigInt(slots[0]?.final?.rx ?? 0) > 0n)
  assert.equal(await passes(), false)
  assert.doesNotMatch(sh('conntrack', '-L'), /10\.77\.4\.2/)
  control.send({ type: 'changes', since: '2', revision: '3', changes: [{ ...peerOf(alice), version: 3 }] })
  await control.hear('applied', ({ slots }) => slots.some(({ version }) => version === 3))
  lab.dial(alice, control.enrolments[0]?.public_key ?? '')
  await eventually('traffic passes again', passes, 7_000)
})

test('rules that somebody throws away are loaded again within a second', async () => {
  const others = join(lab.dir, 'others.nft')
  writeFileSync(others, sh('nft', 'list', 'table', 'ip', 'others'))
  sh('nft', 'flush', 'ruleset')
  await eventually('the rules are back', () => sh('nft', 'list', 'tables').includes(`inet prime_${lab.wg}`), 1_000)
  await eventually('it is told', () => agent.said.includes('firewall_was_gone'))
  sh('nft', '-f', others)
})

test('when the process that carries the tunnel dies, interface and peers come back by themselves', async () => {
  sh('ip', 'link', 'delete', lab.wg)
  await eventually(
    'the peer is back',
    () => has(() => sh('wg', 'show', lab.wg, 'peers').includes(alice.publicKey)),
    9_000,
  )
})

test('a rotated key reaches the interface, the disk and the control plane', async () => {
  control.send({ type: 'rotate_key' })
  const { public_key } = await control.hear('new_key')
  assert.equal(sh('wg', 'show', lab.wg, 'public-key').trim(), public_key)
  lab.dial(alice, public_key)
  await eventually('traffic passes with the new key', passes, 7_000)
})

test('health is told, with what doctor would complain about', async () => {
  const { warnings, cores } = await control.hear('health')
  assert.ok(warnings.includes('runs_as_root'))
  assert.ok(cores >= 1)
  const doctor = await prime('doctor', '--json', '--data-dir', dir)
  assert.equal(doctor.code, 0)
  const { findings } = JSON.parse(doctor.stdout) as { findings: { code: string; remedy: string }[] }
  assert.ok(findings.every(({ remedy }) => remedy.length > 0))
  assert.ok(!findings.some(({ code }) => ['firewall_missing', 'interface_missing', 'forwarding_off'].includes(code)))
})

test('a dismissed node ends with 3 and leaves the tunnel as it is', async () => {
  control.send({ type: 'dismissed', reason: 'server \u001b[31mremoved' })
  const { code, stderr } = await agent.ended
  assert.equal(code, 3)
  assert.match(
    stderr.trim().split('\n').at(-1) ?? '',
    /^prime-node: the control plane dismissed this node: server +\[31mremoved/,
  )
  await eventually('traffic passes', passes)
})

test('the agent stops with 0 when asked, and leave removes all it made and nothing else', async () => {
  agent = new AgentProcess(['run', '--data-dir', dir])
  control.heard = []
  await control.hear('auth')
  assert.equal((await prime('leave', '--data-dir', dir)).code, 4, 'not while the agent runs')
  assert.equal((await agent.stop()).code, 0)
  await eventually('traffic passes', passes)
  assert.equal((await prime('leave', '--data-dir', dir)).code, 0)
  alice.place.ip('link', 'set', 'up0', 'up')
  assert.equal(withoutCustomer(machine()), withoutCustomer(untouched))
  await assert.rejects(readdir(dir), { code: 'ENOENT' })
  assert.equal(lab.leaked(), 0, 'no packet ever left with a tunnel address')
})

const times = (n: number, act: () => void): void => {
  for (let i = 0; i < n; i++) act()
}

function has(look: () => boolean): boolean {
  try {
    return look()
  } catch {
    return false
  }
}

/** Alice's own link was made after the machine was looked at. */
function withoutCustomer(text: string): string {
  const name = `c2${lab.id}`
  const lines: string[] = []
  let own = false
  for (const line of text.split('\n')) {
    if (/^\d+: /.test(line)) own = line.includes(name)
    else if (!/^\s/.test(line)) own = line.includes(name) || line.includes('198.51.102.') || line.includes('conf.c2')
    if (!own && !line.includes(name)) lines.push(line.trimEnd())
  }
  return lines.join('\n')
}
