import { v7 } from 'uuid'

/** A UUIDv7 (RFC 9562): sorts by time. An id, never a secret. */
export const newId = (): string => v7()
