/** What ends a command: one line for the operator and the exit code of api.md, section 9. */
export class Failure extends Error {
  readonly exitCode: number
  constructor(exitCode: number, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause })
    this.name = new.target.name
    this.exitCode = exitCode
  }
}

/** The command line is wrong. */
export class UsageError extends Failure {
  constructor(message: string) {
    super(2, message)
  }
}

/** The control plane does not want this node: token used, expired or revoked, or the node was removed. */
export class Refused extends Failure {
  constructor(message: string, cause?: unknown) {
    super(3, message, cause)
  }
}

/** This machine cannot be a node as it is: no permission, no WireGuard, a name that is taken. */
export class CannotRun extends Failure {
  constructor(message: string, cause?: unknown) {
    super(4, message, cause)
  }
}

/** The control plane cannot be reached or answers nonsense; trying again later may help. */
export class Unreachable extends Failure {
  constructor(message: string, cause?: unknown) {
    super(1, message, cause)
  }
}

/** Text from elsewhere made fit for one line of a terminal: no control characters, at most `max` characters. */
export function oneLine(text: string, max = 200): string {
  const clean = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').trim()
  return clean.length > max ? `${clean.slice(0, max - 1)}…` : clean
}
