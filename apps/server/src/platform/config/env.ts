import { readFileSync } from 'node:fs'

export type Env = Record<string, string | undefined>

const LINE = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)$/

/** One value of a `.env` file: quotes taken off, an inline comment (` #`) outside quotes stripped. */
function unquote(raw: string): string {
  const quoted = /^(["'])(.*?)\1\s*(?:#.*)?$/.exec(raw)
  if (quoted) return quoted[2] ?? ''
  return raw
    .replace(/\s+#.*$/, '')
    .replace(/^#.*$/, '')
    .trim()
}

/** Parses the text of a `.env` file. Lines that are not `NAME=value` are passed over. */
export function parseEnvFile(text: string): Env {
  const found: Env = {}
  for (const line of text.split(/\r?\n/)) {
    const match = LINE.exec(line)
    if (match?.[1] !== undefined) found[match[1]] = unquote(match[2]?.trim() ?? '')
  }
  return found
}

/** The environment, with a `.env` file beside the process for what it leaves out. */
export function readEnv(environment: Env, file = '.env'): Env {
  let text = ''
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    // No file is the usual case.
  }
  return { ...parseEnvFile(text), ...environment }
}
