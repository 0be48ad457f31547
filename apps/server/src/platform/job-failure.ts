import { AppError } from './errors.ts'
import { printable } from './log.ts'

/**
 * What kept a job from its end, in words of ours: they are stored with the job and logged.
 * @param final trying again cannot help, and the job is over
 */
export class JobFailure extends Error {
  override readonly name: string = 'JobFailure'
  readonly final: boolean
  constructor(message: string, { final = false }: { final?: boolean } = {}) {
    super(message)
    this.final = final
  }
}

const isPlainName = (text: unknown): text is string => typeof text === 'string' && /^[\w.-]{1,80}$/.test(text)

/** An error's kind; its message only where it is ours: what a mail or payment server says can name a customer. */
function wordsFor(error: unknown): string {
  if (!(error instanceof Error)) return 'something that is no error'
  const kind = isPlainName(error.name) ? error.name : 'Error'
  if (error instanceof AppError || error instanceof JobFailure) {
    const cause = error.cause === undefined ? '' : ` <- ${wordsFor(error.cause)}`
    return `${kind}: ${printable(error.message, 500)}${cause}`
  }
  const { code, constraint_name } = error as Error & { code?: unknown; constraint_name?: unknown }
  return [kind, code, constraint_name].filter(isPlainName).join(' ')
}

/** Where it happened. Only what stands behind the message: lines of a message can look like places. */
function placesOf({ stack = '', message }: Error): string[] {
  const at = stack.indexOf(message)
  if (at < 0) return []
  return stack
    .slice(at + message.length)
    .split('\n')
    .filter((line) => /^ +at .+\)?$/.test(line))
    .slice(0, 12)
}

/** What the queue may store and log of an error. */
export function failureOf(error: unknown): JobFailure {
  const told = new JobFailure(wordsFor(error))
  told.stack = error instanceof Error ? placesOf(error).join('\n') : ''
  return told
}
