import assert from 'node:assert/strict'
import { chownSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { after, before, test } from 'node:test'
import { generateKeyPair, generatePresharedKey } from '@prime-vpn/wireguard'
import { FakeControl, snapshot } from '../apps/node/src/testing/fake-control.ts'
import { AgentProcess, eventually, prime } from './node-agent-process.ts'
import { Lab, sh, type Customer } from './node-lab.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const NOBODY = 65_534
const OUTSIDE = '203.0.113.2'

let lab: Lab
let control: FakeControl

before(async () => {
  lab = new Lab()
  control = await FakeControl.start()
})
after(async () => {
  await control.close()
  lab.close()
})

const state = (): string =>
  [sh('nft', 'list', 'ruleset'), sh('ip', 'address'), sh('ip', 'route'), sh('sysctl', 'net.ipv4.ip_forward')].join('\n')
const joinArgs = (dir: string, token = control.token, url = control.url): string[] => [
  'join',
  url,
  token,
  '--interface',
  lab.wg,
  '--data-dir',
  dir,
  '--backend',
  'userspace',
]

test('each refusal is one clear line and the exit code of the contract, and changes nothing', async () => {
  const before = state()
  const cases: [string[], number, RegExp][] = [
    [
      joinArgs(join(lab.dir, 'a'), 'enrol_0123456789abcdef'),
      3,
      /^prime-node: refused: This token \[31m is not valid\. \(INVALID_ENROLMENT_TOKEN\)$/,
    ],
    [
      joinArgs(join(lab.dir, 'a'), control.token, 'http://192.0.2.1'),
      2,
      /plain http is only for loopback or private addresses/,
    ],
    [joinArgs(join(lab.dir, 'a'), control.token, `${control.url}/elsewhere`), 3, /refused: no \(NOT_FOUND\)/],
    [joinArgs('/proc/none'), 4, /the data directory \/proc\/none cannot be used/],
    [['run', '--data-dir', join(lab.dir, 'b')], 2, /not enrolled/],
    [['leave', '--data-dir', join(lab.dir, 'b')], 4, /there is no node/],
  ]
  for (const [args, code, line] of cases) {
    const ended = await prime(...args)
    assert.equal(ended.code, code, `${args.join(' ')}: ${ended.stderr}`)
    const lines = ended.stderr
      .trim()
      .split('\n')
      .filter((text) => !text.startsWith('{'))
    assert.equal(lines.length, 1)
    assert.match(lines[0] ?? '', line)
  }
  assert.equal(state(), before)
})

test('a redirect is not followed', async () => {
  control.onEnrol = (_req, res) => void res.writeHead(307, { location: `${control.url}/node/enroll` }).end()
  const { code, stderr } = await prime(...joinArgs(join(lab.dir, 'r')))
  control.onEnrol = null
  assert.equal(code, 1)
  assert.match(stderr, /redirect, which is not followed/)
  assert.equal(control.enrolments.length, 0)
})

test("an interface of another program's is left alone", async () => {
  sh('ip', 'link', 'add', lab.wg, 'type', 'veth', 'peer', 'name', 'other')
  const before = state()
  const { code, stderr } = await prime(...joinArgs(join(lab.dir, 'c')))
  assert.equal(code, 4)
  assert.match(stderr, /belongs to another program/)
  assert.equal(state(), before)
  assert.equal(control.enrolments.length, 0, 'the token was not spent')
  sh('ip', 'link', 'delete', lab.wg)
})

test('a WireGuard interface with a key that is not ours is left alone', async () => {
  sh('wireguard-go', lab.wg)
  const key = join(lab.dir, 'key')
  writeFileSync(key, sh('wg', 'genkey'))
  sh('wg', 'set', lab.wg, 'private-key', key)
  const before = [state(), sh('wg', 'show', lab.wg)].join()
  const { code } = await prime(...joinArgs(join(lab.dir, 'd')))
  assert.equal(code, 4)
  assert.equal([state(), sh('wg', 'show', lab.wg)].join(), before)
  sh('ip', 'link', 'delete', lab.wg)
  await new Promise((resolve) => void setTimeout(resolve, 200))
})

test('an enrolment whose answer was lost is made again with the same keys', async () => {
  const dir = join(lab.dir, 'lost')
  const keys: string[] = []
  control.onEnrol = (req, res) => {
    void (async () => {
      let body = ''
      for await (const chunk of req) body += String(chunk)
      keys.push((JSON.parse(body) as { public_key: string }).public_key)
      res.destroy()
    })()
  }
  const first = new AgentProcess(joinArgs(dir))
  await eventually('the control plane was asked', () => keys.length > 0)
  await first.stop('SIGKILL')
  control.onEnrol = null
  const second = new AgentProcess(joinArgs(dir))
  await control.hear('auth')
  assert.equal(control.enrolments[0]?.public_key, keys[0])
  await second.stop()
  // The command of the unit goes on working after the token was used and its file emptied.
  control.heard = []
  const third = new AgentProcess(joinArgs(dir, '-'))
  await control.hear('auth')
  await third.stop()
  assert.equal(control.enrolments.length, 1)
  assert.equal((await prime('leave', '--data-dir', dir)).code, 0)
})

test('as nobody with CAP_NET_ADMIN alone it joins, carries traffic and leaves, and never shows a tunnel address outside', async () => {
  const home = join(lab.dir, 'nobody')
  sh('chmod', '711', lab.dir)
  for (const path of [home, join(lab.dir, 'run')]) {
    mkdirSync(path, { mode: 0o700 })
    chownSync(path, NOBODY, NOBODY)
  }
  control.heard = []
  control.enrolments = []
  let alice: Customer | null = null
  const agent = new AgentProcess(joinArgs(home), asNobody())
  try {
    await control.hear('auth')
    alice = await lab.customer(2, control.enrolments[0]?.public_key ?? '', async (c) => {
      control.send(
        snapshot(1, [
          {
            slot: 2,
            version: 1,
            peer: {
              public_key: c.publicKey,
              preshared_key: c.presharedKey,
              allowed_ips: ['10.77.4.2/32', 'fd77:4::2/128'],
            },
          },
        ]),
      )
      await control.hear('applied', ({ complete }) => complete)
    })
    const { place } = alice
    await lab.outside.udpListen('0.0.0.0', 7)
    await eventually('traffic passes', async () => {
      await place.udpSend(OUTSIDE, 7, 'hello')
      return (await lab.outside.received(60)).length > 0
    })
    control.send({ type: 'changes', since: '1', revision: '2', changes: [{ slot: 3, version: 1, peer: null }] })
    control.send({ type: 'changes', since: '2', revision: '3', changes: [{ slot: 3, version: 2, peer: stranger(3) }] })
    control.send({ type: 'changes', since: '3', revision: '4', changes: [{ slot: 3, version: 3, peer: null }] })
    const { slots } = await control.hear('applied', ({ revision }) => revision === '4')
    assert.deepEqual([slots[0]?.ok, slots[0]?.held], [true, false], 'a removal with its flush works without root')
    // Packets without a pause while the agent dies, comes back, and the node leaves.
    const stream = place.udpSend(OUTSIDE, 7, 'stream', { port: 4_444, times: 1_500, gapMs: 1 })
    await agent.stop('SIGKILL')
    control.heard = []
    const second = new AgentProcess(['run', '--data-dir', home], asNobody())
    await control.hear('auth')
    await second.stop()
    const left = await new AgentProcess(['leave', '--data-dir', home], asNobody()).ended
    assert.equal(left.code, 0, left.stderr)
    await stream
    assert.equal(lab.leaked(), 0)
    assert.equal(sh('sysctl', '-n', 'net.ipv4.ip_forward').trim(), '0')
    assert.doesNotMatch(sh('nft', 'list', 'tables'), /prime_/)
  } finally {
    await agent.stop('SIGKILL')
  }
})

const stranger = (slot: number) => ({
  public_key: generateKeyPair().publicKey,
  preshared_key: generatePresharedKey(),
  allowed_ips: [`10.77.4.${slot}/32`],
})

/** The command of an unprivileged unit: nobody, one capability, a /dev/net/tun and a /run/wireguard it may use. */
function asNobody(): string[] {
  const place = [
    'mount -t tmpfs -o mode=755 none /dev/net && mknod -m 666 /dev/net/tun c 10 200',
    'mkdir -p /run/wireguard && mount --bind "$1" /run/wireguard && mount --bind "$2" /mnt && shift 2',
    `exec setpriv --reuid ${NOBODY} --regid ${NOBODY} --clear-groups --no-new-privs --inh-caps=-all,+net_admin --ambient-caps=-all,+net_admin --bounding-set=-all,+net_admin "$@"`,
  ].join(' && ')
  return [
    'unshare',
    '--mount',
    '--',
    'sh',
    '-c',
    place,
    'sh',
    join(lab.dir, 'run'),
    ROOT,
    process.execPath.replace(ROOT, '/mnt/'),
    '/mnt/apps/node/src/main.ts',
  ]
}
