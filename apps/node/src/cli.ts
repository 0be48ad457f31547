import { parseArgs } from 'node:util'
import { DEFAULT_DATA_DIR } from './data-dir.ts'
import { UsageError } from './failures.ts'

export type Backend = 'auto' | 'kernel' | 'userspace'
export type Endpoint = { host: string | null; port: number }

/** What the operator asked for. */
export type Command =
  | {
      name: 'join'
      url: string
      token: string
      interface: string
      endpoint: string | null
      listenPort: number | null
      dataDir: string
      backend: Backend
    }
  | { name: 'run'; dataDir: string }
  | { name: 'status' | 'doctor'; dataDir: string; json: boolean }
  | { name: 'leave'; dataDir: string; yes: boolean }
  | { name: 'help' | 'version' }

export const HELP = `prime-node: the agent on a VPN server

  prime-node join <control-plane-url> <enrolment-token>   enrol this machine and run ("-" reads the token from stdin)
      --interface NAME    the WireGuard interface (default: WIREGUARD_INTERFACE or wg0)
      --endpoint HOST:PORT  where customers reach this machine; ":PORT" gives the port alone
      --backend KIND      auto (default), kernel or userspace
  prime-node run          run again after join
  prime-node status       what the running agent holds            [--json]
  prime-node doctor       what this machine lacks, and the remedy [--json]
  prime-node leave        remove interface, rules, settings and state of this node [--yes]

  --data-dir DIR          where the node keeps its keys (default: ${DEFAULT_DATA_DIR})

Exit codes: 0 stopped as asked, 1 control plane not reached, 2 usage, 3 refused by the control plane,
4 this machine cannot.
`

const OPTIONS = {
  'data-dir': { type: 'string' },
  interface: { type: 'string' },
  endpoint: { type: 'string' },
  backend: { type: 'string' },
  json: { type: 'boolean' },
  yes: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'V' },
} as const
type Values = { [K in keyof typeof OPTIONS]?: (typeof OPTIONS)[K]['type'] extends 'string' ? string : boolean }

const ALLOWED: Record<string, readonly string[]> = {
  join: ['data-dir', 'interface', 'endpoint', 'backend'],
  run: ['data-dir'],
  status: ['data-dir', 'json'],
  doctor: ['data-dir', 'json'],
  leave: ['data-dir', 'yes'],
}

/** Reads the command line (api.md, section 9). @throws {UsageError} */
export function parseCommand(argv: readonly string[], env: Record<string, string | undefined>): Command {
  const { values, positionals } = parse(argv)
  const [name, ...rest] = positionals
  if (values.version) return { name: 'version' }
  if (values.help || name === 'help') return { name: 'help' }
  if (name === undefined) throw new UsageError('a command is missing; prime-node --help lists them')
  const allowed = Object.hasOwn(ALLOWED, name) ? ALLOWED[name] : undefined
  if (!allowed) throw new UsageError('this command is not known; prime-node --help lists them')
  for (const option of Object.keys(values))
    if (!allowed.includes(option)) throw new UsageError(`--${option} does not belong to ${name}`)
  if (name !== 'join' && rest.length > 0) throw new UsageError(`${name} takes no further words`)
  const dataDir = filled('data-dir', values['data-dir'] ?? DEFAULT_DATA_DIR)
  if (name === 'join') return join(rest, values, dataDir, env)
  if (name === 'run') return { name, dataDir }
  if (name === 'leave') return { name, dataDir, yes: values.yes ?? false }
  return { name: name === 'status' ? 'status' : 'doctor', dataDir, json: values.json ?? false }
}

function parse(argv: readonly string[]): { values: Values; positionals: string[] } {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true, strict: true })
  } catch (error) {
    throw new UsageError(error instanceof Error ? (error.message.split('. ')[0] ?? 'usage') : 'usage')
  }
}

function join(rest: string[], values: Values, dataDir: string, env: Record<string, string | undefined>): Command {
  const [url, token, ...more] = rest
  if (url === undefined || token === undefined) throw new UsageError('join needs the control plane URL and a token')
  if (more.length > 0) throw new UsageError('join takes a URL and a token, nothing more')
  const endpoint = values.endpoint === undefined ? null : parseEndpointWish(values.endpoint)
  return {
    name: 'join',
    url: checkUrl(url),
    token: token === '-' ? token : checkToken(token),
    interface: checkInterface(values.interface ?? (env['WIREGUARD_INTERFACE'] || 'wg0')),
    endpoint: endpoint?.host ? `${endpoint.host}:${endpoint.port}` : null,
    listenPort: endpoint?.port ?? null,
    dataDir,
    backend: checkBackend(values.backend ?? 'auto'),
  }
}

/** The control plane's address without a slash at its end. @throws {UsageError} */
export function checkUrl(text: string): string {
  const url = URL.parse(text)
  if (!url || !['http:', 'https:'].includes(url.protocol))
    throw new UsageError('the URL must begin with https:// or http://')
  if (url.username || url.password || url.search || url.hash)
    throw new UsageError('the URL may hold no user, query or fragment')
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '')
}

/** @throws {UsageError} */
export function checkToken(text: string): string {
  if (!/^[\x21-\x7e]{16,200}$/.test(text)) throw new UsageError('this is no enrolment token')
  return text
}

// Narrower than Linux allows: the name becomes a part of paths and of the names of nftables.
function checkInterface(name: string): string {
  if (!/^[a-zA-Z][a-zA-Z0-9_-]{0,14}$/.test(name) || ['all', 'default', 'lo'].includes(name))
    throw new UsageError('--interface must be 1 to 15 letters, digits, _ or -, beginning with a letter')
  return name
}

function checkBackend(text: string): Backend {
  if (text === 'auto' || text === 'kernel' || text === 'userspace') return text
  throw new UsageError('--backend must be auto, kernel or userspace')
}

/** `host:port`, `[v6]:port` or `:port`. */
function parseEndpointWish(text: string): Endpoint {
  const [, v6, name, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([a-zA-Z0-9.-]*)):(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  if (digits === undefined || port < 1 || port > 65_535 || (name ?? '').length > 253)
    throw new UsageError('--endpoint must be host:port, [address]:port or :port')
  return { host: v6 === undefined ? name || null : `[${v6}]`, port }
}

function filled(name: string, value: string): string {
  if (value === '') throw new UsageError(`--${name} may not be empty`)
  return value
}
