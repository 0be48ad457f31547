import type { Secrets } from '../platform/secrets.ts'

const PURPOSE = 'psk'

/** Preshared keys lie sealed in the lease, and open only for the connection they were made for. */
export const sealPsk = (secrets: Secrets, connectionId: string, psk: string): Buffer =>
  secrets.seal(PURPOSE, connectionId, Buffer.from(psk))

/** @throws when it was changed, belongs to another connection, or its key is gone */
export const openPsk = (secrets: Secrets, connectionId: string, sealed: Uint8Array): string =>
  secrets.open(PURPOSE, connectionId, sealed).toString()
