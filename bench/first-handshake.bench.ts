/**
 * From a connect's answer to its first completed handshake, and the connect call itself, with a real agent and a real
 * wireguard-go in a network namespace. Baseline in the same round: a handshake on a tunnel that is already up.
 * Run as root: unshare --net -- node bench/first-handshake.bench.ts [connects]
 */
import { execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { openTunnel, parseConfig } from '@prime-vpn/wireguard'
import { World } from '../e2e/world.ts'

const connects = Number(process.argv[2] ?? 100)
/** The node answers on every address of its own; this one needs no further wire. */
const NODE = { address: '10.250.0.2', port: 51820 }

function show(name: string, all: number[]): void {
  const sorted = all.toSorted((a, b) => a - b)
  const at = (share: number): string =>
    (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(1)
  console.log(`${name.padEnd(34)} p50 ${at(0.5)}  p90 ${at(0.9)}  p99 ${at(0.99)}  max ${at(1)}`)
}

execFileSync('ip', ['link', 'set', 'lo', 'up'])
const world = new World()
try {
  await world.startServer()
  await world.joinNode()
  const user = await world.api.user()
  const figures = { connect: [] as number[], first: [] as number[], again: [] as number[], end: [] as number[] }

  for (let i = 0; i < connects; i++) {
    let began = performance.now()
    const connection = await user.connect()
    figures.connect.push(performance.now() - began)
    const conf = parseConfig(connection.wg_config)
    const { privateKey, publicKey, presharedKey } = conf
    if (privateKey === null) throw new Error('no private key')
    const handshake = async (): Promise<number> => {
      const from = performance.now()
      const tunnel = await openTunnel({
        endpoint: NODE,
        serverPublicKey: publicKey,
        privateKey,
        presharedKey,
        timeoutMs: 5_000,
      })
      const ms = performance.now() - from
      tunnel.close()
      return ms
    }
    figures.first.push(await handshake())
    // WireGuard passes over initiations of one peer that follow each other within 20 ms.
    await sleep(60)
    figures.again.push(await handshake())
    began = performance.now()
    await user.disconnect(connection.connection_id)
    figures.end.push(performance.now() - began)
  }
  console.log(`${connects} connects, ms`)
  show('connect, call to answer', figures.connect)
  show('answer to first handshake', figures.first)
  show('baseline: a handshake after that', figures.again)
  show('disconnect, call to true totals', figures.end)
} finally {
  await world.close()
}
