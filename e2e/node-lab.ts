import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { generateKeyPair, generatePresharedKey } from '@prime-vpn/wireguard'

const PROBE = fileURLToPath(new URL('node-probe.ts', import.meta.url))

export const sh = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

type Received = { port: number; from: string; fromPort: number; text: string }

/** A place in the lab's network: a namespace with a probe in it. */
export class Place {
  readonly ns: string
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #reader: Interface
  #turn: Promise<unknown> = Promise.resolve()

  constructor(ns: string | null) {
    this.ns = ns ?? ''
    const command = [process.execPath, PROBE]
    const [program = '', ...args] = ns === null ? command : ['ip', 'netns', 'exec', ns, ...command]
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    if (!this.#child.stdout) throw new Error('no probe')
    this.#reader = createInterface({ input: this.#child.stdout })
    this.#lines = this.#reader[Symbol.asyncIterator]()
  }

  ip(...args: string[]): string {
    return this.ns === '' ? sh('ip', ...args) : sh('ip', '-n', this.ns, ...args)
  }

  exec(...args: string[]): string {
    return sh('ip', 'netns', 'exec', this.ns, ...args)
  }

  /** Orders go one after the other; each waits for its answer. */
  order(order: Record<string, unknown>): Promise<unknown> {
    const mine = this.#turn.then(async () => {
      this.#child.stdin?.write(`${JSON.stringify(order)}\n`)
      const { value } = await this.#lines.next()
      return JSON.parse(String(value)) as unknown
    })
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  udpListen = (address: string, port: number): Promise<unknown> => this.order({ do: 'udpListen', address, port })
  udpSend = (to: string, toPort: number, text: string, more: Record<string, unknown> = {}): Promise<unknown> =>
    this.order({ do: 'udpSend', to, toPort, text, ...more })
  tcpConnect = (to: string, toPort: number, more: Record<string, unknown> = {}): Promise<unknown> =>
    this.order({ do: 'tcpConnect', to, toPort, ...more })
  tcpListen = (address: string, port: number): Promise<unknown> => this.order({ do: 'tcpListen', address, port })

  /** What has come in until `settle` ms from now. */
  async received(settle = 120): Promise<Received[]> {
    await new Promise((resolve) => void setTimeout(resolve, settle))
    return (await this.order({ do: 'received' })) as Received[]
  }

  close(): void {
    this.#reader.close()
    this.#child.kill('SIGKILL')
  }
}

export type Customer = {
  place: Place
  interface: string
  privateKey: string
  publicKey: string
  presharedKey: string
  slot: number
}

/** The node under test is this very namespace (each e2e file has its own); the others hang on it by veth pairs. */
export class Lab {
  readonly id = randomBytes(3).toString('hex')
  /** Userspace control sockets are shared by all namespaces of the machine, so every interface needs its own name. */
  readonly wg = `pn${this.id}`
  readonly dir = mkdtempSync(join(tmpdir(), 'prime-node-'))
  readonly node = new Place(null)
  readonly outside: Place
  readonly inside: Place
  readonly #places: Place[] = []
  readonly #interfaces: string[] = []

  constructor() {
    for (const setting of ['net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0'])
      sh('sysctl', '-qw', setting)
    sh('sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0') // or IPv6 would be late by a second
    sh('sysctl', '-qw', 'net.ipv4.ip_forward=0', 'net.ipv6.conf.all.forwarding=0')
    this.outside = this.#attach('out', ['203.0.113.1/24', '2001:db8:9::1/64'], ['203.0.113.2/24', '2001:db8:9::2/64'])
    this.inside = this.#attach(
      'lan',
      ['192.168.50.1/24', 'fd50::1/64', '169.254.169.1/24'],
      ['192.168.50.2/24', '192.168.50.3/24', 'fd50::2/64', '169.254.169.254/24'],
    )
    sh('ip', 'route', 'add', 'default', 'via', '203.0.113.2')
    // Whatever would come back to a tunnel address has a way: only the node's rules may hold it up.
    this.outside.ip('route', 'add', '10.77.4.0/22', 'via', '203.0.113.1')
    this.outside.ip('route', 'add', 'fd77:4::/64', 'via', '2001:db8:9::1')
    this.outside.exec(
      'nft',
      'table inet watch { counter pool { }; chain in { type filter hook prerouting priority raw; ip saddr 10.77.4.0/22 counter name pool; ip6 saddr fd77:4::/64 counter name pool; ip daddr 10.77.4.0/22 counter name pool; ip6 daddr fd77:4::/64 counter name pool; }; }',
    )
  }

  /** Packets seen outside that bear a tunnel address. */
  leaked(): number {
    const text = this.outside.exec('nft', '-j', 'list', 'counters')
    return Number(/"packets": (\d+)/.exec(text)?.[1])
  }

  #attach(name: string, here: string[], there: string[]): Place {
    const ns = `pn-${name}-${this.id}`
    const end = `${name}${this.id}`
    sh('ip', 'netns', 'add', ns)
    sh('ip', 'netns', 'exec', ns, 'sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0')
    sh('ip', 'link', 'add', end, 'type', 'veth', 'peer', 'name', 'up0', 'netns', ns)
    const place = new Place(ns)
    this.#places.push(place)
    place.exec('sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0')
    for (const address of here) sh('ip', 'address', 'add', address, 'dev', end, ...nodad(address))
    for (const address of there) place.ip('address', 'add', address, 'dev', 'up0', ...nodad(address))
    sh('ip', 'link', 'set', end, 'up')
    place.ip('link', 'set', 'up0', 'up')
    place.ip('link', 'set', 'lo', 'up')
    return place
  }

  /** A customer's device with a real wireguard-go, all of whose traffic goes to the node. */
  async customer(
    slot: number,
    nodeKey: string,
    admit: (c: Customer) => Promise<void>,
    o: { mtu?: number } = {},
  ): Promise<Customer> {
    const under = slot + 100
    const place = this.#attach(`c${slot}`, [`198.51.${under}.1/24`], [`198.51.${under}.2/24`])
    const name = `c${slot}${this.id}`.slice(0, 15)
    this.#interfaces.push(name)
    place.exec('wireguard-go', name)
    const { privateKey, publicKey } = generateKeyPair()
    const presharedKey = generatePresharedKey()
    const customer = { place, interface: name, privateKey, publicKey, presharedKey, slot }
    this.dial(customer, nodeKey)
    // A handshake that comes too early is tried again only after 5 s.
    await admit(customer)
    for (const address of [`10.77.4.${slot}/32`, `fd77:4::${slot}/128`])
      place.ip('address', 'add', address, 'dev', name, ...nodad(address))
    place.ip('link', 'set', name, 'mtu', String(o.mtu ?? 1420), 'up')
    place.ip('route', 'add', 'default', 'dev', name)
    place.ip('-6', 'route', 'add', 'default', 'dev', name)
    return customer
  }

  dial(c: Customer, nodeKey: string): void {
    const conf = join(this.dir, `${c.interface}.conf`)
    const text = `[Interface]\nPrivateKey = ${c.privateKey}\n[Peer]\nPublicKey = ${nodeKey}\nPresharedKey = ${c.presharedKey}\nEndpoint = 198.51.${c.slot + 100}.1:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n`
    execFileSync('tee', [conf], { input: text, stdio: ['pipe', 'ignore', 'inherit'] })
    c.place.exec('wg', 'setconf', c.interface, conf)
  }

  close(): void {
    quietly(() => sh('ip', 'link', 'delete', this.wg))
    for (const place of this.#places) {
      for (const name of this.#interfaces) quietly(() => place.ip('link', 'delete', name))
      place.close()
      sh('ip', 'netns', 'delete', place.ns)
    }
    this.node.close()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

/** For what may be gone already, or lives in another place. */
function quietly(act: () => void): void {
  try {
    act()
  } catch {
    // nothing to do
  }
}

const nodad = (address: string): string[] => (address.includes(':') ? ['nodad'] : [])
