import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { readJournal, type JournalEntry, type NodeConfig } from '@prime-vpn/node-protocol'
import { FILES, codeOf } from './data-dir.ts'

/** The peers' journal on disk. Both writers are synchronous: what follows may count on them against kill -9. */
export type Journal = {
  /** What the file said when it was opened. */
  entries: JournalEntry[]
  /** Adds lines. @returns false when the disk refuses; the lines are kept and written with the next ones */
  append: (entries: readonly JournalEntry[]) => boolean
  /** Puts a whole new journal in the place of the old one, in one step. @returns false when the disk refuses */
  replace: (entries: readonly JournalEntry[]) => boolean
  close: () => void
}

/** Opens the journal, or begins one. A torn last line, left by a crash, is cut off. */
export function openJournal(dir: string): Journal {
  const path = join(dir, FILES.journal)
  const text = readText(path)
  const entries = readJournal(text)
  let fd = openSync(path, 'a', 0o600)
  let size = Buffer.byteLength(text)
  let waiting = ''

  const append = (more: readonly JournalEntry[]): boolean => {
    waiting += lines(more)
    try {
      const bytes = Buffer.from(waiting)
      writeAll(fd, bytes)
      size += bytes.length
      waiting = ''
      return true
    } catch {
      ftruncateSync(fd, size) // half a line would hide all that follow it
      return false
    }
  }

  const replace = (all: readonly JournalEntry[]): boolean => {
    const draft = `${path}.tmp`
    try {
      const bytes = Buffer.from(lines(all))
      const next = openSync(draft, 'w', 0o600)
      writeAll(next, bytes)
      fsyncSync(next)
      closeSync(next)
      renameSync(draft, path)
      closeSync(fd)
      fd = openSync(path, 'a', 0o600)
      size = bytes.length
      waiting = ''
      return true
    } catch {
      return append(all)
    }
  }

  if (lines(entries) !== text) replace(entries)
  return { entries, append, replace, close: () => closeSync(fd) }
}

/** The configuration last written down, read without touching the file; null when there is none. */
export function lastConfig(dir: string): NodeConfig | null {
  const entries = readJournal(readText(join(dir, FILES.journal)))
  return entries.reduce<NodeConfig | null>((last, entry) => (entry.kind === 'config' ? entry.config : last), null)
}

/** Addresses of peers whose removal was begun and not confirmed. */
export function leavingAddresses(entries: readonly JournalEntry[]): string[] {
  const bySlot = new Map<number, string[]>()
  for (const entry of entries)
    if (entry.kind === 'slot')
      bySlot.set(
        entry.slot,
        entry.leaving.flatMap(({ allowed_ips }) => allowed_ips),
      )
  return [...bySlot.values()].flat()
}

const lines = (entries: readonly JournalEntry[]): string =>
  entries.map((entry) => `${JSON.stringify(entry)}\n`).join('')

function writeAll(fd: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done)
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return ''
    throw error
  }
}
