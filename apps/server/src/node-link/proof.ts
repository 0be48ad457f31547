import { createPublicKey, verify, type KeyObject } from 'node:crypto'
import { linkProof } from '@prime-vpn/node-protocol'

/** DER head of an Ed25519 public key (RFC 8410); the 32 bytes follow. */
const SPKI_HEAD = Buffer.from('302a300506032b6570032100', 'hex')
const SIGNATURE = /^[A-Za-z0-9+/]{86}==$/

const keyOf = (raw: Buffer): KeyObject =>
  createPublicKey({ key: Buffer.concat([SPKI_HEAD, raw]), format: 'der', type: 'spki' })

/** True when `signature` (base64) is the node's over this installation, challenge and node. Never throws. */
export function proves(
  node: { nodeId: string; identityKey: Buffer },
  challenge: { installation: string; nonce: string },
  signature: string,
): boolean {
  if (!SIGNATURE.test(signature) || node.identityKey.length !== 32) return false
  const text = linkProof(challenge.installation, challenge.nonce, node.nodeId)
  try {
    return verify(null, text, keyOf(node.identityKey), Buffer.from(signature, 'base64'))
  } catch {
    return false
  }
}
