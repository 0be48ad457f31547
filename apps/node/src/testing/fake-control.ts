import { createPublicKey, randomBytes, randomUUID, verify } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { EnrollRequest, NodeMessage, linkProof, type NodeConfig, type ServerMessage } from '@prime-vpn/node-protocol'
import { WebSocketServer, type WebSocket } from 'ws'
import { toBuffer } from '../link-socket.ts'

type MessageOf<T extends NodeMessage['type']> = Extract<NodeMessage, { type: T }>
type Waiter = { type: string; test: (message: NodeMessage) => boolean; resolve: (message: NodeMessage) => void }

export const CONFIG: NodeConfig = {
  addresses: ['10.77.4.1/22', 'fd77:4::1/64'],
  listen_port: 51820,
  mtu: 1420,
  dns: ['10.77.4.1'],
  open: [],
}

const SPKI_ED25519 = Buffer.from('302a300506032b6570032100', 'hex') // RFC 8410

/** A control plane for tests: enrols whoever has its token, proves nodes, and says what a test tells it to. */
export class FakeControl {
  readonly installation = randomUUID()
  readonly nodeId = randomUUID()
  readonly token = `enrol_${randomBytes(16).toString('hex')}`
  config: NodeConfig
  enrolments: EnrollRequest[] = []
  /** Everything nodes said, in order. */
  heard: NodeMessage[] = []
  links = 0
  /** The node's first words are checked and answered by this; tests of hostile control planes replace it. */
  onSocket: (socket: WebSocket) => void = (socket) => this.greet(socket)
  /** Replaces the answer to an enrolment. */
  onEnrol: ((req: IncomingMessage, res: ServerResponse) => void) | null = null
  /** What is sent right after the welcome. */
  afterWelcome: ServerMessage[] = []
  #server: Server
  #socket: WebSocket | null = null
  #waiters: Waiter[] = []

  private constructor(config: NodeConfig) {
    this.config = config
    this.#server = createServer((req, res) => void this.#answer(req, res))
    const sockets = new WebSocketServer({ server: this.#server, path: '/node/link' })
    sockets.on('connection', (socket) => {
      this.links++
      this.#socket = socket
      socket.on('error', () => socket.terminate())
      this.onSocket(socket)
    })
  }

  static async start(host = '127.0.0.1', port = 0, config = CONFIG): Promise<FakeControl> {
    const control = new FakeControl(config)
    await new Promise<void>((resolve) => control.#server.listen(port, host, resolve))
    return control
  }

  get url(): string {
    const { address, port } = this.#server.address() as AddressInfo
    return `http://${address}:${port}`
  }

  send(message: ServerMessage): void {
    this.#socket?.send(JSON.stringify(message))
  }

  get socket(): WebSocket | null {
    return this.#socket
  }

  /** The next message of this type that fits, or one heard already. */
  hear<T extends NodeMessage['type']>(
    type: T,
    test: (message: MessageOf<T>) => boolean = () => true,
  ): Promise<MessageOf<T>> {
    const fits = (message: NodeMessage): message is MessageOf<T> =>
      message.type === type && test(message as MessageOf<T>)
    const already = this.heard.find(fits)
    if (already && fits(already)) return Promise.resolve(already)
    return new Promise((resolve) => {
      const take = (message: NodeMessage): void => {
        if (fits(message)) resolve(message)
      }
      this.#waiters.push({ type, test: fits, resolve: take })
    })
  }

  close(): Promise<void> {
    this.#socket?.terminate()
    this.#server.closeAllConnections()
    return new Promise((resolve) => void this.#server.close(() => resolve()))
  }

  greet(socket: WebSocket): void {
    const nonce = randomBytes(32).toString('base64url')
    const say = (message: ServerMessage): void => socket.send(JSON.stringify(message))
    socket.on('message', (data) => {
      const message = NodeMessage.parse(JSON.parse(toBuffer(data).toString()))
      this.heard.push(message)
      if (message.type === 'auth') {
        if (!this.#proves(message, nonce)) return socket.close(4003, 'bad proof')
        say({ type: 'welcome', installation: this.installation, config: this.config })
        for (const next of this.afterWelcome) say(next)
      }
      for (const waiter of this.#waiters.filter((w) => w.test(message))) {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1)
        waiter.resolve(message)
      }
    })
    say({ type: 'challenge', nonce, installation: this.installation, versions: [1] })
  }

  #proves(message: MessageOf<'auth'>, nonce: string): boolean {
    const raw = Buffer.from(this.enrolments.at(-1)?.identity_key ?? '', 'base64')
    const key = createPublicKey({ key: Buffer.concat([SPKI_ED25519, raw]), format: 'der', type: 'spki' })
    const proof = linkProof(this.installation, nonce, message.node_id)
    return message.node_id === this.nodeId && verify(null, proof, key, Buffer.from(message.signature, 'base64'))
  }

  async #answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    if (this.onEnrol) return this.onEnrol(req, res)
    let body = ''
    for await (const chunk of req) body += String(chunk)
    const json = (status: number, value: unknown): void =>
      void res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    if (req.method !== 'POST' || req.url !== '/node/enroll')
      return json(404, { error: { code: 'NOT_FOUND', message: 'no' } })
    const request = EnrollRequest.parse(JSON.parse(body))
    if (request.token !== this.token)
      return json(401, { error: { code: 'INVALID_ENROLMENT_TOKEN', message: 'This token\u001b[31m is not valid.' } })
    this.enrolments.push(request)
    json(201, {
      node_id: this.nodeId,
      server_id: randomUUID(),
      installation: this.installation,
      hostname: 'node.example',
      config: this.config,
    })
  }
}

/** Everything, as a snapshot of a revision. */
export const snapshot = (
  revision: number,
  peers: {
    slot: number
    version: number
    peer: { public_key: string; preshared_key: string; allowed_ips: string[] }
  }[],
): ServerMessage => ({
  type: 'snapshot',
  revision: String(revision),
  complete: true,
  count: peers.length,
  peers,
  empty: [],
})
