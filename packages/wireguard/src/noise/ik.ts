import type { KeyObject } from 'node:crypto'
import { HandshakeFailed } from '../errors.ts'
import { publicKeyObject, rawPublicKey, sharedSecret } from '../x25519.ts'
import { concat, type SymmetricState } from './symmetric.ts'

export const PROTOCOL = 'Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s'

/** What one side brings: its static key, a fresh ephemeral key, and 32 bytes known to both. */
export type Party = { statics: KeyObject; ephemeral: KeyObject; psk: Uint8Array }

const KEY = 32
const TAG = 16

/**
 * Message one of IKpsk2 as the initiator writes it: `-> e, es, s, ss, payload`.
 * @throws {HandshakeFailed} the responder's key is a small-order point
 */
export function writeFirst(state: SymmetricState, me: Party, responder: Uint8Array, payload: Uint8Array): Uint8Array {
  const theirs = publicKeyObject(responder)
  const ephemeral = rawPublicKey(me.ephemeral)
  state.mixHash(responder)
  state.mixHash(ephemeral)
  state.mixKey(ephemeral) // with a psk in the pattern, `e` is mixed into the key too: Noise specification, 9.2
  state.mixKey(agree(me.ephemeral, theirs))
  const sealedStatic = state.encryptAndHash(rawPublicKey(me.statics))
  state.mixKey(agree(me.statics, theirs))
  return concat(ephemeral, sealedStatic, state.encryptAndHash(payload))
}

/** Message two as the initiator reads it: `<- e, ee, se, psk, payload`. @throws {HandshakeFailed} */
export function readSecond(state: SymmetricState, me: Party, message: Uint8Array): Uint8Array {
  if (message.length < KEY + TAG) throw new HandshakeFailed('the answer is too short')
  const ephemeral = message.subarray(0, KEY)
  const theirs = publicKeyObject(ephemeral)
  state.mixHash(ephemeral)
  state.mixKey(ephemeral)
  state.mixKey(agree(me.ephemeral, theirs))
  state.mixKey(agree(me.statics, theirs))
  state.mixKeyAndHash(me.psk)
  return state.decryptAndHash(message.subarray(KEY))
}

/** Message one as the responder reads it; gives the initiator's static key and the payload. @throws {HandshakeFailed} */
export function readFirst(
  state: SymmetricState,
  me: Party,
  message: Uint8Array,
): { initiator: Uint8Array; ephemeral: Uint8Array; payload: Uint8Array } {
  const ephemeral = message.subarray(0, KEY)
  state.mixHash(rawPublicKey(me.statics))
  state.mixHash(ephemeral)
  state.mixKey(ephemeral)
  state.mixKey(agree(me.statics, publicKeyObject(ephemeral)))
  const initiator = state.decryptAndHash(message.subarray(KEY, 2 * KEY + TAG))
  state.mixKey(agree(me.statics, publicKeyObject(initiator)))
  return { initiator, ephemeral, payload: state.decryptAndHash(message.subarray(2 * KEY + TAG)) }
}

/** Message two as the responder writes it. */
export function writeSecond(
  state: SymmetricState,
  me: Party,
  their: { initiator: Uint8Array; ephemeral: Uint8Array },
  payload: Uint8Array,
): Uint8Array {
  const ephemeral = rawPublicKey(me.ephemeral)
  state.mixHash(ephemeral)
  state.mixKey(ephemeral)
  state.mixKey(agree(me.ephemeral, publicKeyObject(their.ephemeral)))
  state.mixKey(agree(me.ephemeral, publicKeyObject(their.initiator)))
  state.mixKeyAndHash(me.psk)
  return concat(ephemeral, state.encryptAndHash(payload))
}

function agree(mine: KeyObject, theirs: KeyObject): Uint8Array {
  try {
    return sharedSecret(mine, theirs)
  } catch (cause) {
    throw new HandshakeFailed('a public key is a small-order point', cause)
  }
}
