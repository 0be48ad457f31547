import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Api } from './api.ts'
import { AgentProcess, eventually, MAIN } from './node-agent-process.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const WEB = fileURLToPath(new URL('world-web.ts', import.meta.url))

/** Where the control plane listens for agents: a private network of its own. */
const CONTROL = '10.250.0.1'
const NODE_CONTROL = '10.250.0.2'
/** The outer network: everybody's uplink. */
export const NODE_OUTER = '203.0.113.10'
const OUTSIDE = '203.0.113.1'
const OUTSIDE_6 = '2001:db8:9::1'
/** A host beyond the outer network, reached through the node's NAT. */
export const HOST = '198.51.100.80'
export const HOST_6 = '2001:db8:80::80'
const PORT = 8000

export const sh = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

/** A network namespace of this world. */
export class Space {
  readonly name: string
  constructor(name: string) {
    this.name = name
    sh('ip', 'netns', 'add', name)
    this.ip('link', 'set', 'lo', 'up')
    this.run('sysctl', '-qw', 'net.ipv6.conf.all.accept_dad=0', 'net.ipv6.conf.default.accept_dad=0')
  }
  ip(...args: string[]): string {
    return sh('ip', '-n', this.name, ...args)
  }
  run(...args: string[]): string {
    return sh('ip', 'netns', 'exec', this.name, ...args)
  }
  /** True when the program ends with 0. */
  does(...args: string[]): boolean {
    try {
      this.run(...args)
      return true
    } catch {
      return false
    }
  }
}

/**
 * The whole product on one machine: this namespace is the control plane's host; a node, customers and the internet have
 * namespaces of their own. Every part is the real one.
 */
export class World {
  readonly id = randomBytes(3).toString('hex')
  readonly folder = mkdtempSync(join(tmpdir(), 'prime-world-'))
  readonly wg = `pw${this.id}`
  readonly node: Space
  readonly outside: Space
  readonly api = new Api(`http://127.0.0.1:${PORT}`)
  /** A command that server and agent are started by, such as a tracer; it must become them. */
  under: string[] = []
  #server: ChildProcess | undefined
  #serverSaid = ''
  #agent: AgentProcess | undefined
  #web: ChildProcess | undefined
  readonly #spaces: Space[] = []
  readonly #customers: Customer[] = []

  constructor() {
    chmodSync(this.folder, 0o711)
    this.node = this.#space('node')
    this.outside = this.#space('out')
    // The control plane's own wire to the node.
    sh('ip', 'link', 'add', 'ctl0', 'type', 'veth', 'peer', 'name', 'ctl0', 'netns', this.node.name)
    sh('ip', 'address', 'add', `${CONTROL}/24`, 'dev', 'ctl0')
    sh('ip', 'link', 'set', 'ctl0', 'up')
    this.node.ip('address', 'add', `${NODE_CONTROL}/24`, 'dev', 'ctl0')
    this.node.ip('link', 'set', 'ctl0', 'up')
    // The outer network is a bridge in the place that stands for the internet.
    // Its address is set: left alone, a bridge takes the lowest of its ports', and a customer who joins may change it
    // under the node, whose neighbour entry for the gateway then leads nowhere for up to 45 s.
    this.outside.ip('link', 'add', 'br0', 'address', '02:00:00:00:00:ff', 'type', 'bridge')
    for (const address of [`${OUTSIDE}/24`, `${HOST}/32`]) this.outside.ip('address', 'add', address, 'dev', 'br0')
    for (const address of [`${OUTSIDE_6}/64`, `${HOST_6}/128`])
      this.outside.ip('address', 'add', address, 'dev', 'br0', 'nodad')
    this.outside.ip('link', 'set', 'br0', 'up')
    this.plug(this.node, 10)
  }

  #space(kind: string): Space {
    const space = new Space(`pw-${kind}-${this.id}`)
    this.#spaces.push(space)
    return space
  }

  /** Gives a space an uplink on the outer network: 203.0.113.n and 2001:db8:9::n. */
  plug(space: Space, n: number): void {
    space.ip('link', 'add', 'up0', 'type', 'veth', 'peer', 'name', `v${n}`, 'netns', this.outside.name)
    this.outside.ip('link', 'set', `v${n}`, 'master', 'br0', 'up')
    space.ip('address', 'add', `203.0.113.${n}/24`, 'dev', 'up0')
    space.ip('address', 'add', `2001:db8:9::${n}/64`, 'dev', 'up0', 'nodad')
    space.ip('link', 'set', 'up0', 'up')
    space.ip('route', 'add', 'default', 'via', OUTSIDE)
    space.ip('-6', 'route', 'add', 'default', 'via', OUTSIDE_6)
  }

  /** Starts the control plane by its real command on the embedded database, and signs in as the first admin. */
  async startServer(env: Record<string, string> = {}): Promise<void> {
    const [program, ...args] = [...this.under, process.execPath, join(root, 'apps/cli/bin/prime.js'), 'serve']
    this.#server = spawn(program, args, {
      cwd: this.folder,
      env: {
        PATH: process.env.PATH ?? '',
        HOST: '0.0.0.0',
        PORT: String(PORT),
        DATA_DIR: join(this.folder, 'data'),
        ADMIN_EMAIL: 'admin@example.com',
        ADMIN_PASSWORD: 'a long admin password 1',
        RATE_LIMIT_ENABLED: 'false',
        LOG_LEVEL: process.env.WORLD_LOG ?? 'error',
        ...env,
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#server.stderr?.on('data', (chunk: Buffer) => {
      this.#serverSaid += chunk.toString()
      // A log that was asked for is for the test to read, not for the terminal.
      if (env['LOG_LEVEL'] === undefined) process.stderr.write(chunk)
    })
    await eventually('the control plane is ready', () => this.api.ready(), 30_000)
    await this.api.signInAdmin('admin@example.com', 'a long admin password 1')
  }

  async killServer(): Promise<void> {
    const gone = new Promise((resolve) => this.#server?.once('exit', resolve))
    this.#server?.kill('SIGKILL')
    await gone
  }

  async stopServer(): Promise<void> {
    if (!this.#server || this.#server.exitCode !== null) return
    const gone = new Promise((resolve) => this.#server?.once('exit', resolve))
    this.#server.kill('SIGTERM')
    await gone
  }

  /** Creates a server record and joins the node to it by the agent's real command. */
  async joinNode(): Promise<string> {
    const server = await this.api.createServer({ ip_address: NODE_OUTER, endpoint: `${NODE_OUTER}:51820` })
    const { token } = await this.api.admin<{ token: string }>('POST', `/admin/servers/${server.id}/enrollment-token`)
    this.#runAgent(['join', `http://${CONTROL}:${PORT}`, '-', '--interface', this.wg], token)
    await this.operational(server.id)
    return server.id
  }

  #runAgent(args: string[], input?: string): void {
    const command = ['ip', 'netns', 'exec', this.node.name, ...this.under, process.execPath, MAIN]
    this.#agent = new AgentProcess([...args, '--data-dir', join(this.folder, 'node')], command, input)
  }

  async operational(serverId: string): Promise<void> {
    await eventually(
      `the server takes tunnels; the agent said: ${this.agentSaid()}`,
      async () => (await this.api.servers()).some((s) => s.id === serverId && s.status === 'operational'),
      15_000,
    )
  }

  /** All the control plane has logged, over its restarts. */
  serverSaid(): string {
    return this.#serverSaid
  }

  agentSaid(): string {
    return this.#agent?.said ?? ''
  }

  /** kill -9 of the agent alone. */
  async killAgent(): Promise<void> {
    await this.#agent?.stop('SIGKILL')
  }

  /** Starts the agent again on the state it left. */
  restartAgent(): void {
    this.#runAgent(['run'])
  }

  /** Pulls the wire between node and control plane, or plugs it in again. */
  wire(up: boolean): void {
    sh('ip', 'link', 'set', 'ctl0', up ? 'up' : 'down')
  }

  /** Peers that the node's interface holds, with their counters from the customer's side. */
  peers(): Map<string, { sent: bigint; received: bigint; allowedIps: string }> {
    const lines = this.node.run('wg', 'show', this.wg, 'dump').trim().split('\n').slice(1)
    return new Map(
      lines.map((line) => {
        const [key = '', , , allowedIps = '', , rx = '0', tx = '0'] = line.split('\t')
        return [key, { sent: BigInt(rx), received: BigInt(tx), allowedIps }]
      }),
    )
  }

  /** Starts a web server on the host beyond the NAT: `/bytes/N` answers N bytes, a POST is counted, `/` tells the caller. */
  async startWeb(): Promise<void> {
    this.#web = spawn('ip', ['netns', 'exec', this.outside.name, process.execPath, WEB], { stdio: 'ignore' })
    await eventually('the host answers', () => this.outside.does('curl', '-sf', '-m', '1', `http://${HOST}/`))
  }

  customer(n: number): Customer {
    const customer = new Customer(this, this.#space(`c${n}`), n)
    this.#customers.push(customer)
    return customer
  }

  async close(): Promise<void> {
    for (const customer of this.#customers) customer.down()
    await this.#agent?.stop('SIGKILL')
    await this.stopServer()
    this.#web?.kill('SIGKILL')
    // wireguard-go ends when its interface goes.
    this.node.does('ip', 'link', 'del', this.wg)
    for (const { name } of this.#spaces) sh('ip', 'netns', 'del', name)
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** A customer's machine with the stock tools. */
export class Customer {
  readonly space: Space
  readonly interface: string
  readonly #conf: string
  readonly #bin: string
  #up = false

  constructor(world: World, space: Space, n: number) {
    this.space = space
    this.interface = `pc${n}${world.id}`
    world.plug(space, 100 + n)
    this.#bin = join(world.folder, 'bin')
    this.#conf = join(world.folder, `${this.interface}.conf`)
    mkdirSync(this.#bin, { recursive: true })
    // wg-quick hands DNS to the system's resolver manager; here that is a file.
    writeFileSync(join(this.#bin, 'resolvconf'), `#!/bin/sh\ncat >> "${world.folder}/resolvconf.said"\n`, {
      mode: 0o755,
    })
  }

  /** `wg-quick up` with the configuration as it came. */
  up(conf: string): void {
    writeFileSync(this.#conf, conf, { mode: 0o600 })
    this.#quick('up')
    this.#up = true
  }

  down(): void {
    if (!this.#up) return
    this.#up = false
    this.#quick('down')
  }

  #quick(direction: string): void {
    const path = `${this.#bin}:${process.env.PATH ?? ''}`
    this.space.run('env', `PATH=${path}`, 'wg-quick', direction, this.#conf)
  }

  /** Bytes a download brought; 0 when nothing came within the time. */
  download(bytes: number, host = HOST, seconds = 20): number {
    try {
      const url = `http://${host.includes(':') ? `[${host}]` : host}/bytes/${bytes}`
      return Number(
        this.space.run('curl', '-s', '-g', '-m', String(seconds), '-o', '/dev/null', '-w', '%{size_download}', url),
      )
    } catch {
      return 0
    }
  }

  upload(bytes: number): boolean {
    const file = `${this.#conf}.bytes`
    writeFileSync(file, Buffer.alloc(bytes))
    return this.space.does(
      'curl',
      '-sf',
      '-m',
      '20',
      '-H',
      'Expect:',
      '--data-binary',
      `@${file}`,
      '-o',
      '/dev/null',
      `http://${HOST}/`,
    )
  }

  /** The address the host beyond the NAT sees. */
  seenAs(): string {
    return this.space.run('curl', '-s', '-m', '5', `http://${HOST}/`).trim()
  }

  pings(address: string, seconds = 1): boolean {
    return this.space.does('ping', '-q', '-c', '1', '-W', String(seconds), address)
  }

  get resolvers(): string {
    return readFileSync(join(this.#conf, '../resolvconf.said'), 'utf8')
  }
}
