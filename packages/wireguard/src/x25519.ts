import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from 'node:crypto'

// node:crypto takes no bare 32 bytes; these are the DER headers of RFC 8410 for id-X25519 before the key itself.
const PKCS8 = Buffer.from('302e020100300506032b656e04220420', 'hex')
const SPKI = Buffer.from('302a300506032b656e032100', 'hex')

/** Makes a key object of 32 private bytes. Keep it: making one costs a scalar multiplication. */
export const privateKeyObject = (raw: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.concat([PKCS8, raw]), format: 'der', type: 'pkcs8' })

export const publicKeyObject = (raw: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.concat([SPKI, raw]), format: 'der', type: 'spki' })

/** The 32 public bytes of a private key object. */
export const rawPublicKey = (key: KeyObject): Uint8Array =>
  new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(SPKI.length))

/**
 * The shared secret of RFC 7748, section 6.1: 32 bytes.
 * @throws when the result is all zero, i.e. the public key is a small-order point
 */
export const sharedSecret = (mine: KeyObject, theirs: KeyObject): Uint8Array =>
  new Uint8Array(diffieHellman({ privateKey: mine, publicKey: theirs }))
