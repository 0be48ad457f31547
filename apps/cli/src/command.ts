/** A command of `prime`. */
export type Command = {
  name: string
  /** One line for the overview. */
  summary: string
  /** What `--help` shows: usage and options. */
  usage: string
  /** @returns the exit code */
  run(args: readonly string[]): Promise<number>
}

/** The words of the call are off: exit code 2. */
export class UsageError extends Error {}
