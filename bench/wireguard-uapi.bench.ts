import { spawnSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  generateKeyPair,
  generatePresharedKey,
  openDriver,
  type Driver,
  type PeerWish,
} from '../packages/wireguard/src/index.ts'

// Our driver on wireguard-go's socket against the `wg` program on the same interface, in interleaved rounds: filling an
// interface with 10,000 peers, changing one of them, reading all. Run as root: node bench/wireguard-uapi.bench.ts
// [peers] [rounds]. It starts itself again in a network namespace of its own.

const PEERS = Number(process.argv[2] ?? 10_000)
const ROUNDS = Number(process.argv[3] ?? 5)
const MARK = 'WIREGUARD_BENCH_NAMESPACE'

if (process.env[MARK] === undefined) {
  const inner = spawnSync('unshare', ['--net', process.execPath, ...process.argv.slice(1)], {
    env: { ...process.env, [MARK]: '1' },
    stdio: 'inherit',
  })
  process.exit(inner.status ?? 1)
}

type Figures = Map<string, { wall: number[]; cpu: number[] }>

/** Milliseconds of wall clock, and of processor in this process, that `act` takes. */
async function measure(figures: Figures, what: string, act: () => unknown): Promise<void> {
  const cpu = process.cpuUsage()
  const began = performance.now()
  await act()
  const wall = performance.now() - began
  const used = process.cpuUsage(cpu)
  const row = figures.get(what) ?? { wall: [], cpu: [] }
  figures.set(what, row)
  row.wall.push(wall)
  row.cpu.push((used.user + used.system) / 1000)
}

const median = (list: number[]): number => list.toSorted((a, b) => a - b)[list.length >> 1] ?? 0

function wg(...args: string[]): void {
  const done = spawnSync('wg', args, { stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 64 * 1024 * 1024 })
  if (done.status !== 0) throw new Error(`wg ${args[0]} failed`)
}

const aPeer = (i: number): PeerWish => ({
  publicKey: generateKeyPair().publicKey,
  presharedKey: generatePresharedKey(),
  allowedIps: [`10.${64 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}/32`, `fd00:64::${i.toString(16)}/128`],
})

const section = (p: PeerWish): string =>
  `[Peer]\nPublicKey = ${p.publicKey}\nPresharedKey = ${p.presharedKey}\nAllowedIPs = ${p.allowedIps.join(', ')}\n`

async function emptied(driver: Driver, privateKey: string): Promise<void> {
  await driver.destroy()
  await driver.create()
  await driver.configure({ privateKey, listenPort: 51820 })
}

const name = `wgb${process.pid % 100_000}`
const { privateKey } = generateKeyPair()
const peers = Array.from({ length: PEERS }, (_, i) => aPeer(i))
const [first = aPeer(0)] = peers
const changed = { ...first, allowedIps: first.allowedIps.slice(0, 1) }
const whole = join(tmpdir(), `${name}.conf`)
const one = join(tmpdir(), `${name}.psk`)
writeFileSync(whole, `[Interface]\nPrivateKey = ${privateKey}\nListenPort = 51820\n${peers.map(section).join('')}`, {
  mode: 0o600,
})
writeFileSync(one, `${first.presharedKey}\n`, { mode: 0o600 })

const figures: Figures = new Map()
const driver = await openDriver(name, 'userspace')
try {
  for (let round = 0; round < ROUNDS; round++) {
    await emptied(driver, privateKey)
    await measure(figures, `fill with ${PEERS}: wg syncconf`, () => wg('syncconf', name, whole))
    await emptied(driver, privateKey)
    await measure(figures, `fill with ${PEERS}: driver`, () => driver.apply(peers.map((peer) => ({ op: 'set', peer }))))
    await measure(figures, 'change one: wg syncconf', () => wg('syncconf', name, whole))
    await measure(figures, 'change one: wg set', () =>
      wg('set', name, 'peer', first.publicKey, 'preshared-key', one, 'allowed-ips', first.allowedIps.join(',')),
    )
    for (const peer of [changed, first])
      await measure(figures, 'change one: driver', () => driver.apply([{ op: 'set', peer }]))
    await measure(figures, 'read all: wg show dump, not parsed', () => wg('show', name, 'dump'))
    await measure(figures, 'read all: driver', async () => {
      const { peers: read } = await driver.dump()
      if (read.length !== PEERS) throw new Error(`read ${read.length} of ${PEERS} peers`)
    })
  }
} finally {
  await driver.destroy()
  rmSync(whole)
  rmSync(one)
}

console.log(`${PEERS} peers with a preshared key and two addresses, ${ROUNDS} rounds, medians in ms\n`)
console.log(`${''.padEnd(40)}${'wall'.padStart(10)}${'own CPU'.padStart(10)}`)
for (const [what, { wall, cpu }] of figures)
  console.log(`${what.padEnd(40)}${median(wall).toFixed(2).padStart(10)}${median(cpu).toFixed(2).padStart(10)}`)
