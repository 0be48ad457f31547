import { chacha20poly1305 } from '@noble/ciphers/chacha.js'
import { blake2s } from '@noble/hashes/blake2.js'
import { hmac } from '@noble/hashes/hmac.js'
import { HandshakeFailed } from '../errors.ts'

const EMPTY = new Uint8Array(0)

export const hash = (...parts: Uint8Array[]): Uint8Array => {
  const h = blake2s.create({ dkLen: 32 })
  for (const part of parts) h.update(part)
  return h.digest()
}

/** Keyed BLAKE2s with 16 bytes of output: `Mac` of the WireGuard whitepaper, 5.4. */
export const mac = (key: Uint8Array, data: Uint8Array): Uint8Array => blake2s(data, { key, dkLen: 16 })

/** HKDF of the Noise specification, 4.3, with HMAC-BLAKE2s: two or three outputs of 32 bytes. */
export function kdf(key: Uint8Array, input: Uint8Array, outputs: 2 | 3): Uint8Array[] {
  const secret = hmac(blake2s, key, input)
  const made: Uint8Array[] = []
  let last = EMPTY
  for (let n = 1; n <= outputs; n++) {
    last = hmac(blake2s, secret, concat(last, Uint8Array.of(n)))
    made.push(last)
  }
  return made
}

/** The 96-bit nonce of a counter: four zero bytes, then 64 bits little-endian. */
export function nonceOf(counter: bigint): Uint8Array {
  const nonce = new Uint8Array(12)
  new DataView(nonce.buffer).setBigUint64(4, counter, true)
  return nonce
}

export const seal = (key: Uint8Array, counter: bigint, plain: Uint8Array, ad: Uint8Array = EMPTY): Uint8Array =>
  chacha20poly1305(key, nonceOf(counter), ad).encrypt(plain)

/** @throws {HandshakeFailed} the tag does not verify */
export function unseal(key: Uint8Array, counter: bigint, sealed: Uint8Array, ad: Uint8Array = EMPTY): Uint8Array {
  try {
    return chacha20poly1305(key, nonceOf(counter), ad).decrypt(sealed)
  } catch (cause) {
    throw new HandshakeFailed('a message does not verify', cause)
  }
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/**
 * The symmetric state of a Noise handshake (specification, 5.2). In IKpsk2 every key encrypts one message only, so the
 * nonce is always 0.
 */
export class SymmetricState {
  #chain: Uint8Array
  #hash: Uint8Array
  #key: Uint8Array = EMPTY

  constructor(protocol: string, prologue: Uint8Array) {
    this.#chain = hash(new TextEncoder().encode(protocol))
    this.#hash = hash(this.#chain, prologue)
  }

  get handshakeHash(): Uint8Array {
    return this.#hash
  }

  mixHash(data: Uint8Array): void {
    this.#hash = hash(this.#hash, data)
  }

  mixKey(input: Uint8Array): void {
    const [chain = EMPTY, key = EMPTY] = kdf(this.#chain, input, 2)
    this.#chain = chain
    this.#key = key
  }

  mixKeyAndHash(psk: Uint8Array): void {
    const [chain = EMPTY, mixed = EMPTY, key = EMPTY] = kdf(this.#chain, psk, 3)
    this.#chain = chain
    this.mixHash(mixed)
    this.#key = key
  }

  encryptAndHash(plain: Uint8Array): Uint8Array {
    const sealed = seal(this.#key, 0n, plain, this.#hash)
    this.mixHash(sealed)
    return sealed
  }

  /** @throws {HandshakeFailed} */
  decryptAndHash(sealed: Uint8Array): Uint8Array {
    const plain = unseal(this.#key, 0n, sealed, this.#hash)
    this.mixHash(sealed)
    return plain
  }

  /** The two transport keys: initiator to responder, responder to initiator. */
  split(): { forward: Uint8Array; back: Uint8Array } {
    const [forward = EMPTY, back = EMPTY] = kdf(this.#chain, EMPTY, 2)
    return { forward, back }
  }
}
