import { xchacha20poly1305 } from '@noble/ciphers/chacha.js'
import { createSocket, type Socket } from 'node:dgram'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { decodeKey, generateKeyPair } from '../keys.ts'
import { PROTOCOL, readFirst, writeSecond } from '../noise/ik.ts'
import {
  bodyOf,
  cookieKey,
  header,
  IDENTIFIER,
  INITIATION_SIZE,
  mac1Key,
  mac1Of,
  mac2Of,
  withMacs,
} from '../noise/messages.ts'
import { Session } from '../noise/session.ts'
import { concat, mac, SymmetricState } from '../noise/symmetric.ts'
import { privateKeyObject } from '../x25519.ts'

const raw = (key: string): Uint8Array => new Uint8Array(decodeKey(key) ?? [])
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

/** The server's side of the handshake, after the whitepaper (5.4), for one client at a time. */
export class Responder {
  readonly keys = generateKeyPair()
  readonly #psk: Uint8Array
  /** While set, an initiation without a valid `mac2` gets a cookie reply only. */
  cookie: Uint8Array | null = null
  /** What the last initiation held. */
  seen: { initiator: string; timestamp: Uint8Array } | null = null
  session: Session | null = null

  constructor(presharedKey: string | null) {
    this.#psk = presharedKey === null ? new Uint8Array(32) : raw(presharedKey)
  }

  /** The answer to a datagram, or null when it deserves none. */
  answer(message: Uint8Array): Uint8Array | null {
    const publicKey = raw(this.keys.publicKey)
    const { buffer, byteOffset } = message
    if (message.length !== INITIATION_SIZE || message[0] !== 1) return null
    if (!same(mac1Of(message), mac(mac1Key(publicKey), bodyOf(message)))) return null
    const sender = new DataView(buffer, byteOffset).getUint32(4, true)
    if (this.cookie && !same(mac2Of(message), mac(this.cookie, message.subarray(0, -16))))
      return cookieReply(publicKey, this.cookie, sender, mac1Of(message))
    return this.#respond(message, sender)
  }

  #respond(message: Uint8Array, sender: number): Uint8Array {
    const me = {
      statics: privateKeyObject(raw(this.keys.privateKey)),
      ephemeral: generateKeyPairSync('x25519').privateKey,
      psk: this.#psk,
    }
    const state = new SymmetricState(PROTOCOL, IDENTIFIER)
    const first = readFirst(state, me, message.subarray(8, 116))
    this.seen = { initiator: Buffer.from(first.initiator).toString('base64'), timestamp: first.payload }
    const localIndex = randomBytes(4).readUInt32LE()
    const second = writeSecond(state, me, first, new Uint8Array(0))
    const { forward, back } = state.split()
    this.session = new Session({ localIndex, remoteIndex: sender, sendKey: back, receiveKey: forward })
    return withMacs(concat(header(2, localIndex, sender), second), mac1Key(first.initiator), null)
  }
}

function cookieReply(publicKey: Uint8Array, cookie: Uint8Array, receiver: number, mac1: Uint8Array): Uint8Array {
  const nonce = new Uint8Array(randomBytes(24))
  return concat(header(3, receiver), nonce, xchacha20poly1305(cookieKey(publicKey), nonce, mac1).encrypt(cookie))
}

/** Puts a responder on a loopback port; it sends every IP packet it gets back. */
export async function serve(responder: Responder): Promise<{ socket: Socket; port: number }> {
  const socket = createSocket('udp4', (message, from) => {
    const reply = message[0] === 4 ? echo(responder.session, message) : responder.answer(message)
    if (reply) socket.send(reply, from.port, from.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return { socket, port: socket.address().port }
}

function echo(session: Session | null, message: Uint8Array): Uint8Array | null {
  const packet = session?.decrypt(message)
  return session && packet && packet.length > 0 ? session.encrypt(packet) : null
}
