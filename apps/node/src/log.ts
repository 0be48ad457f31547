export type Level = 'debug' | 'info' | 'warn' | 'error'
export type Log = (level: Level, event: string, fields?: Record<string, string | number | boolean | null>) => void

const ORDER: readonly Level[] = ['debug', 'info', 'warn', 'error']

/**
 * A log of JSON lines on stderr. Callers hand over short codes, counts and our own sentences: no key, no address, no
 * text of a peer ever enters it.
 * @param least the lowest level written
 */
export function openLog(least: Level, write: (line: string) => void = (line) => process.stderr.write(line)): Log {
  return (level, event, fields = {}) => {
    if (ORDER.indexOf(level) < ORDER.indexOf(least)) return
    write(`${JSON.stringify({ time: new Date().toISOString(), level, event, ...fields })}\n`)
  }
}

/** Reads LOG_LEVEL; anything unknown is `info`. */
export const levelOf = (text: string | undefined): Level => ORDER.find((level) => level === text) ?? 'info'
