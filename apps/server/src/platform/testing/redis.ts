import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../postgres/process.ts'
import { defer, type Scope } from './defer.ts'
import { freePort } from '../free-port.ts'

/** For `test(name, { skip: noRedis }, ...)`: why there is none, or false. */
export const noRedis: string | false = (process.env.PATH ?? '').split(':').some((folder) => {
  try {
    accessSync(join(folder, 'redis-server'), constants.X_OK)
    return true
  } catch {
    return false
  }
})
  ? false
  : 'redis-server is not installed'

export type TestRedis = {
  /** redis://127.0.0.1:port */
  url: string
  /** Path of its Unix socket, which also reaches into other network namespaces. */
  socket: string
  /** kill -9: every connection breaks at once. */
  kill(): Promise<void>
  /** Starts it again, empty, on the same port. */
  restart(): Promise<void>
  /** Stops answering while connections stay open, until `thaw`. */
  freeze(): void
  thaw(): void
}

const answers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path)
    socket.once('error', () => resolve(false)).once('connect', () => socket.write('PING\r\n'))
    socket.once('data', (data) => resolve(data.toString().startsWith('+PONG'))).once('data', () => socket.destroy())
  })

const running = new Set<ChildProcess>()
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')))

/** @throws when it does not come up within five seconds */
async function start(folder: string, port: number, socket: string): Promise<ChildProcess> {
  const memoryOnly = ['--save', '', '--appendonly', 'no']
  const listen = ['--bind', '127.0.0.1', '--port', String(port), '--unixsocket', socket]
  const child = spawn('redis-server', [...memoryOnly, ...listen, '--dir', folder], { cwd: folder, stdio: 'ignore' })
  running.add(child)
  child.once('exit', () => running.delete(child))
  const up = await until(async () => child.exitCode !== null || (await answers(socket)), 5_000)
  if (!up || child.exitCode !== null) throw new Error(`redis-server does not start on port ${port}`)
  return child
}

/**
 * A Redis server of this scope's own: it starts in about 20 ms, so nobody has to share keys or channels.
 * Close clients with `defer`, so that they go before it does.
 */
export async function testRedis(scope: Scope): Promise<TestRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'redis-'))
  const socket = join(folder, 's')
  const port = await freePort()
  let child = await start(folder, port, socket)
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
  defer(scope, async () => {
    await kill()
    await rm(folder, { recursive: true, force: true })
  })
  return {
    url: `redis://127.0.0.1:${port}`,
    socket,
    kill,
    async restart() {
      await kill()
      await rm(socket, { force: true })
      child = await start(folder, port, socket)
    },
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
  }
}
