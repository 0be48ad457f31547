/**
 * How long the node agent takes to put 10,000 peers into an empty interface (from the control plane's message to the
 * acknowledgement of the last peer), against one `wg syncconf` of the same peers, round by round; how long one change
 * among them takes; and what agent and wireguard-go hold in memory for a peer.
 *
 * Run as root on Linux: node bench/agent-apply.bench.ts [rounds]
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { generateKeyPair, generatePresharedKey } from '@prime-vpn/wireguard'
import { FakeControl, snapshot } from '../apps/node/src/testing/fake-control.ts'

const PEERS = 10_000
const CHANGES = 20
const MAIN = fileURLToPath(new URL('../apps/node/src/main.ts', import.meta.url))
const INSIDE = '--inside'

const sh = (program: string, ...args: string[]): string => execFileSync(program, args, { encoding: 'utf8' })
const median = (list: number[]): number => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN
const memoryOf = (pid: number | string): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
const pidOf = (name: string): string => sh('pgrep', '-f', `^wireguard-go .*${name}$`).trim().split('\n')[0] ?? ''

const peers = Array.from({ length: PEERS }, (_, i) => {
  const [high, low] = [(i + 2) >> 8, (i + 2) & 255]
  return {
    slot: i + 2,
    version: 1,
    peer: {
      public_key: generateKeyPair().publicKey,
      preshared_key: generatePresharedKey(),
      allowed_ips: [`10.77.${high}.${low}/32`, `fd77::${(i + 2).toString(16)}/128`],
    },
  }
})

/** Milliseconds of one `wg syncconf` into a fresh interface. */
async function baseline(dir: string): Promise<number> {
  const name = `bb${randomBytes(4).toString('hex')}`
  const conf = join(dir, 'sync.conf')
  const text = peers.map(
    ({ peer }) =>
      `[Peer]\nPublicKey = ${peer.public_key}\nPresharedKey = ${peer.preshared_key}\nAllowedIPs = ${peer.allowed_ips.join(', ')}\n`,
  )
  writeFileSync(conf, `[Interface]\nPrivateKey = ${generateKeyPair().privateKey}\n${text.join('')}`)
  sh('wireguard-go', name)
  const began = performance.now()
  sh('wg', 'syncconf', name, conf)
  const took = performance.now() - began
  sh('ip', 'link', 'delete', name)
  await sleep(300)
  return took
}

type Round = { snapshot: number; change: number; agentPerPeer: number; tunnelPerPeer: number }

async function agentRound(dir: string): Promise<Round> {
  const name = `ba${randomBytes(4).toString('hex')}`
  const data = join(dir, name)
  const control = await FakeControl.start('127.0.0.1', 0, {
    addresses: ['10.77.0.1/16', 'fd77::1/64'],
    listen_port: 51820,
    mtu: 1420,
    dns: [],
    open: [],
  })
  const args = [
    MAIN,
    'join',
    control.url,
    control.token,
    '--interface',
    name,
    '--data-dir',
    data,
    '--backend',
    'userspace',
  ]
  const agent = spawn(process.execPath, args, { stdio: 'ignore' })
  try {
    await control.hear('auth')
    await sleep(1_500) // what belongs to the start is over
    const idle = { agent: memoryOf(agent.pid ?? 0), tunnel: memoryOf(pidOf(name)) }
    const message = snapshot(1, peers)
    const began = performance.now()
    control.send(message)
    await control.hear('applied', ({ complete, revision }) => complete && revision === '1')
    const took = performance.now() - began
    const changes = await oneByOne(control)
    const agentPerPeer = (memoryOf(agent.pid ?? 0) - idle.agent) / PEERS
    const tunnelPerPeer = (memoryOf(pidOf(name)) - idle.tunnel) / PEERS
    return { snapshot: took, change: median(changes), agentPerPeer, tunnelPerPeer }
  } finally {
    agent.kill('SIGTERM')
    await new Promise((resolve) => agent.once('close', resolve))
    spawnSync(process.execPath, [MAIN, 'leave', '--data-dir', data], { stdio: 'ignore' })
    await control.close()
  }
}

/** Milliseconds from telling to hearing, for changes of one peer among all. */
async function oneByOne(control: FakeControl): Promise<number[]> {
  const times: number[] = []
  for (let i = 0; i < CHANGES; i++) {
    const entry = peers[i]
    if (!entry) break
    const began = performance.now()
    const peer = { ...entry.peer, preshared_key: generatePresharedKey() }
    control.send({
      type: 'changes',
      since: String(i + 1),
      revision: String(i + 2),
      changes: [{ ...entry, version: 2, peer }],
    })
    await control.hear('applied', ({ revision }) => revision === String(i + 2))
    times.push(performance.now() - began)
    await sleep(50)
  }
  return times
}

async function main(rounds: number): Promise<void> {
  sh('ip', 'link', 'set', 'lo', 'up')
  const dir = mkdtempSync(join(tmpdir(), 'bench-agent-'))
  const base: number[] = []
  const agent: Round[] = []
  try {
    for (let i = 0; i < rounds; i++) {
      base.push(await baseline(dir))
      agent.push(await agentRound(dir))
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
  const own = median(agent.map((r) => r.snapshot))
  const ratio = median(agent.map((r, i) => r.snapshot / (base[i] ?? Number.NaN)))
  console.log(`${PEERS} peers, ${rounds} rounds, medians`)
  console.log(`wg syncconf into an empty interface   ${median(base).toFixed(0)} ms`)
  console.log(`agent, message to last confirmation   ${own.toFixed(0)} ms   ratio ${ratio.toFixed(2)}`)
  console.log(`one change among them, told to heard  ${median(agent.map((r) => r.change)).toFixed(1)} ms`)
  console.log(
    `memory per peer: agent ${(median(agent.map((r) => r.agentPerPeer)) / 1024).toFixed(1)} KiB, wireguard-go ${(median(agent.map((r) => r.tunnelPerPeer)) / 1024).toFixed(1)} KiB`,
  )
}

const words = process.argv.slice(2)
if (words.includes(INSIDE)) await main(Number(words.find((word) => /^\d+$/.test(word)) ?? 5))
else {
  const inner = ['--net', process.execPath, fileURLToPath(import.meta.url), INSIDE, ...words]
  process.exitCode = spawnSync('unshare', inner, { stdio: 'inherit' }).status ?? 1
}
