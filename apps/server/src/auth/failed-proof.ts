import type { AppError } from '../platform/errors.ts'
import type { FailedAttempt } from '../platform/attempts.ts'

const kinds = new WeakMap<object, FailedAttempt>()

/**
 * Marks an error as the answer to a wrong password, code or secret, so that it counts against the caller's address. Use
 * cases throw it and know of no request; the hook in `create.ts` reports it.
 */
export function failedProof<E extends AppError>(kind: FailedAttempt, error: E): E {
  kinds.set(error, kind)
  return error
}

export const failedProofOf = (error: object): FailedAttempt | undefined => kinds.get(error)
