import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { parseAddress } from '../addresses.ts'
import { formatEndpoint, type Endpoint } from '../config.ts'
import { HandshakeFailed } from '../errors.ts'
import { Initiator, type InitiatorKeys } from './initiator.ts'
import type { Session } from './session.ts'

/** Milliseconds until an unanswered initiation is sent anew; WireGuard itself waits five seconds (Rekey-Timeout). */
const RETRY_MS = 1_000

export type TunnelOptions = InitiatorKeys & {
  endpoint: Endpoint
  /** Milliseconds for the whole handshake. */
  timeoutMs: number
  /** The address to send from; the system chooses when it is left out. */
  localAddress?: string | undefined
}

export interface Tunnel {
  /** Milliseconds from the initiation that was answered to its answer. */
  readonly rttMs: number
  /** Sends one IP packet; an empty one is a keepalive. */
  send(packet: Uint8Array): void
  /** The next IP packet that comes, keepalives left out. One caller at a time. @throws {HandshakeFailed} none in time */
  receive(timeoutMs: number): Promise<Uint8Array>
  close(): void
}

/**
 * Makes a genuine handshake from an ordinary UDP socket, with no rights and no interface: for checking that a server
 * answers, and for tests. It does not rekey, so it is good for three minutes.
 * @throws {HandshakeFailed} no valid answer in time @throws {InvalidValue} a key or address is none
 */
export async function openTunnel(o: TunnelOptions): Promise<Tunnel> {
  const initiator = new Initiator(o)
  const socket = await connectSocket(o)
  try {
    const { session, rttMs } = await shakeHands(socket, initiator, o.timeoutMs)
    // The server uses the new session only after the first message in it.
    await new Promise<void>((resolve) => socket.send(session.encrypt(), () => resolve()))
    return tunnelOver(socket, session, rttMs)
  } catch (err) {
    socket.close()
    throw err
  }
}

/** Milliseconds a server needs for a genuine handshake; the caller's key must be one of its peers. @see openTunnel */
export async function probe(o: TunnelOptions): Promise<{ rttMs: number }> {
  const tunnel = await openTunnel(o)
  tunnel.close()
  return { rttMs: tunnel.rttMs }
}

/** A connected socket takes datagrams of that server only and hears when its port is closed. */
async function connectSocket(o: TunnelOptions): Promise<Socket> {
  formatEndpoint(o.endpoint)
  if (o.localAddress !== undefined) parseAddress(o.localAddress, 'localAddress')
  const socket = createSocket(isIPv6(o.endpoint.address) ? 'udp6' : 'udp4')
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.bind({ port: 0, ...(o.localAddress === undefined ? {} : { address: o.localAddress }) }, () =>
        socket.connect(o.endpoint.port, o.endpoint.address, (err?: Error) => (err ? reject(err) : resolve())),
      )
    })
  } catch (cause) {
    socket.close()
    throw new HandshakeFailed('the server cannot be reached from here', cause)
  }
  socket.removeAllListeners('error')
  return socket
}

function shakeHands(
  socket: Socket,
  initiator: Initiator,
  timeoutMs: number,
): Promise<{ session: Session; rttMs: number }> {
  let sentAt = 0
  let lastError: unknown
  let hasCookie = false
  const start = (): void => {
    const message = initiator.start()
    sentAt = performance.now()
    socket.send(message)
  }
  return new Promise<{ session: Session; rttMs: number }>((resolve, reject) => {
    const retry = setInterval(start, RETRY_MS)
    const deadline = setTimeout(() => {
      reject(new HandshakeFailed('no valid answer in time', lastError))
      stop()
    }, timeoutMs)
    const stop = (): void => {
      clearInterval(retry)
      clearTimeout(deadline)
      socket.removeListener('message', onMessage)
    }
    const onMessage = (message: Buffer): void => {
      const rttMs = performance.now() - sentAt
      try {
        if (message[0] === 3) {
          initiator.takeCookie(message)
          if (!hasCookie) start() // once at once, then with the pace of the retries: no ping-pong with a busy server
          hasCookie = true
          return
        }
        resolve({ session: initiator.finish(message), rttMs })
        stop()
      } catch (err) {
        lastError = err // anybody can send us rubbish: go on waiting for the real answer
      }
    }
    socket.on('message', onMessage)
    socket.on('error', (err) => (lastError = err)) // a closed port may open again before the deadline
    start()
  })
}

function tunnelOver(socket: Socket, session: Session, rttMs: number): Tunnel {
  const arrived: Uint8Array[] = []
  let wake: (() => void) | null = null
  socket.on('message', (message) => {
    try {
      const packet = session.decrypt(message)
      if (packet.length > 0) arrived.push(packet)
      wake?.()
    } catch {
      // not genuine, or a new initiation of the server, which we never answer
    }
  })
  return {
    rttMs,
    send: (packet) => socket.send(session.encrypt(packet)),
    receive: async (timeoutMs) => {
      const deadline = performance.now() + timeoutMs
      for (;;) {
        const packet = arrived.shift()
        if (packet) return packet
        const left = deadline - performance.now()
        if (left <= 0) throw new HandshakeFailed('no packet came in time')
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, left)
          wake = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      }
    },
    close: () => socket.close(),
  }
}
