import { chmodSync, rmSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { z } from 'zod'
import { FILES } from './data-dir.ts'

/** What a running agent tells about itself; no key, no address, no peer by name. */
export const Status = z.object({
  version: z.string(),
  pid: z.int(),
  started_at: z.string(),
  node_id: z.string(),
  server_id: z.string(),
  control_url: z.string(),
  interface: z.string(),
  backend: z.string(),
  public_key: z.string(),
  link: z.enum(['up', 'connecting', 'down']),
  revision: z.string(),
  peers: z.int(),
  warnings: z.array(z.string()),
})
export type Status = z.infer<typeof Status>

const WAIT_MS = 3_000
const MAX_BYTES = 64 * 1024

/**
 * Answers `prime-node status` on a Unix socket (0600 in a 0700 directory; no TCP port): one JSON text to whoever
 * connects, whatever they send. Needs the lock on the directory, since it takes the place of a dead socket.
 */
export function serveStatus(dir: string, status: () => Status): Promise<Server> {
  const path = join(dir, FILES.socket)
  rmSync(path, { force: true })
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.setTimeout(WAIT_MS, () => socket.destroy())
    socket.end(JSON.stringify(status()))
  })
  server.maxConnections = 8
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => {
      chmodSync(path, 0o600)
      resolve(server)
    })
  })
}

/** Asks the agent on this directory; null when none answers. */
export function askStatus(dir: string): Promise<Status | null> {
  return new Promise((resolve) => {
    let text = ''
    const socket = connect(join(dir, FILES.socket))
    socket.setTimeout(WAIT_MS, () => socket.destroy())
    socket.on('data', (chunk) => {
      text += chunk.toString('utf8')
      if (text.length > MAX_BYTES) socket.destroy()
    })
    socket.on('error', () => resolve(null))
    socket.on('close', () => resolve(parse(text)))
  })
}

function parse(text: string): Status | null {
  try {
    return Status.parse(JSON.parse(text))
  } catch {
    return null
  }
}
