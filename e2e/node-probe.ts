/**
 * Stands in a network namespace and sends or waits for packets as told on stdin: one JSON order a line, one JSON answer
 * a line, in order. Started by node-lab.ts.
 */
import { createSocket, type Socket } from 'node:dgram'
import { connect, createServer, type Socket as TcpSocket } from 'node:net'
import { isIPv6 } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

type Received = { port: number; from: string; fromPort: number; text: string }
type Order =
  | { do: 'udpListen'; address: string; port: number }
  | {
      do: 'udpSend'
      from?: string
      port?: number
      to: string
      toPort: number
      text: string
      times?: number
      gapMs?: number
    }
  | { do: 'received' }
  | { do: 'tcpListen'; address: string; port: number }
  | { do: 'tcpConnect'; to: string; toPort: number; waitMs?: number; keep?: boolean }
  | { do: 'flows'; to: string; toPort: number; count: number }
  | { do: 'say'; text: string }

const received: Received[] = []
const bound = new Map<string, Socket>()
const kept: TcpSocket[] = []

async function socketAt(address: string | undefined, port: number, v6: boolean): Promise<Socket> {
  const name = `${address ?? (v6 ? '::' : '0.0.0.0')} ${port}`
  const found = port === 0 ? undefined : bound.get(name)
  if (found) return found
  const socket = createSocket({ type: v6 ? 'udp6' : 'udp4', reuseAddr: true })
  socket.on('error', () => undefined)
  socket.on('message', (data, { address: from, port: fromPort }) =>
    received.push({ port: socket.address().port, from, fromPort, text: data.toString() }),
  )
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.bind({ port, ...(address ? { address } : {}) }, resolve)
  })
  bound.set(port === 0 ? `${name} ${bound.size}` : name, socket)
  return socket
}

const send = (socket: Socket, text: string, port: number, to: string): Promise<string> =>
  new Promise((resolve) => socket.send(text, port, to, (error) => resolve(error ? error.message : 'sent')))

function tcpConnect(to: string, port: number, waitMs: number, keep: boolean): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: to, port })
    const timer = setTimeout(() => done('timeout'), waitMs)
    const done = (how: string): void => {
      clearTimeout(timer)
      if (!(keep && how === 'open')) socket.destroy()
      resolve(how)
    }
    socket.on('connect', () => {
      if (keep) kept.push(socket)
      done('open')
    })
    socket.on('data', (data) => received.push({ port, from: to, fromPort: port, text: data.toString() }))
    socket.on('error', (error: NodeJS.ErrnoException) => done(error.code ?? 'error'))
  })
}

async function obey(order: Order): Promise<unknown> {
  switch (order.do) {
    case 'udpListen':
      await socketAt(order.address, order.port, isIPv6(order.address))
      return 'listening'
    case 'udpSend': {
      const socket = await socketAt(order.from, order.port ?? 0, isIPv6(order.to))
      let last = ''
      for (let i = 0; i < (order.times ?? 1); i++) {
        last = await send(socket, order.text, order.toPort, order.to)
        if (order.gapMs) await sleep(order.gapMs)
      }
      return last
    }
    case 'received':
      return received.splice(0)
    case 'tcpListen': {
      const server = createServer((socket) => {
        socket.on('error', () => socket.destroy())
        kept.push(socket)
      })
      await new Promise<void>((resolve) => server.listen(order.port, order.address, resolve))
      return 'listening'
    }
    case 'tcpConnect':
      return tcpConnect(order.to, order.toPort, order.waitMs ?? 700, order.keep ?? false)
    case 'flows': {
      for (let i = 0; i < order.count; i++) {
        const socket = createSocket(isIPv6(order.to) ? 'udp6' : 'udp4')
        await send(socket, 'flow', order.toPort, order.to)
        socket.close()
      }
      return 'sent'
    }
    case 'say':
      for (const socket of kept) socket.write(order.text)
      return kept.length
    default:
      return order satisfies never
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await obey(JSON.parse(line) as Order).catch((error: unknown) => `failed: ${String(error)}`)
  process.stdout.write(`${JSON.stringify(answer ?? null)}\n`)
}
process.exit(0)
