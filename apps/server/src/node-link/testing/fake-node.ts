import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
import { randomUUID } from 'node:crypto'
import WebSocket from 'ws'
import {
  agentStep,
  createAgent,
  firstEntries,
  linkProof,
  parseServerMessage,
  readJournal,
  type AgentEffect,
  type AgentEvent,
  type AgentState,
  type NodeConfig,
  type NodeMessage,
  type ServerMessage,
} from '@prime-vpn/node-protocol'
import { ToyKernel } from './toy-kernel.ts'

export const NODE_CONFIG_OF_TESTS: NodeConfig = {
  addresses: ['10.77.0.1/24'],
  listen_port: 51820,
  mtu: 1420,
  dns: [],
  open: [],
}
const TICK_MS = 50

/** Who a node is: what enrolment leaves on both sides. */
export type Identity = { nodeId: string; serverId: string; identityKey: Buffer; privateKey: KeyObject }

export function newIdentity(serverId: string): Identity {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const identityKey = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)
  return { nodeId: randomUUID(), serverId, identityKey, privateKey }
}

export const proofOf = (identity: Identity, installation: string, nonce: string): string =>
  sign(null, linkProof(installation, nonce, identity.nodeId), identity.privateKey).toString('base64')

/** A node on loopback: the real agent reducer with a socket, a toy kernel and a disk in memory. */
export class FakeNode {
  readonly kernel = new ToyKernel()
  readonly identity: Identity
  /** Where it dials; may be changed for the next time. */
  url: string
  /** Everything the server said. */
  readonly heard: ServerMessage[] = []
  readonly closes: number[] = []
  /** Drops what the node would say. */
  mute: (message: NodeMessage) => boolean = () => false
  exited: string | undefined
  #dead = true
  #state: AgentState
  #ws: WebSocket | undefined
  #dial: NodeJS.Timeout | undefined
  #ticks: NodeJS.Timeout | undefined
  readonly #headers: Record<string, string>
  #journal = ''

  /** @param headers sent with each handshake, such as a proxy's */
  constructor(url: string, identity: Identity, installation: string, headers: Record<string, string> = {}) {
    this.url = url
    this.identity = identity
    this.#headers = headers
    this.#write(true, firstEntries(installation, NODE_CONFIG_OF_TESTS))
    this.#state = this.#fresh()
  }

  start(): void {
    this.#dead = false
    this.step({ type: 'start' })
    this.#ticks = setInterval(() => this.step({ type: 'tick' }), TICK_MS)
  }

  /** kill -9: the kernel and the disk stay. */
  kill(): void {
    this.#dead = true
    clearInterval(this.#ticks)
    clearTimeout(this.#dial)
    this.#ws?.terminate()
    this.#ws?.removeAllListeners()
    this.#ws?.on('error', () => undefined)
  }

  restart(): void {
    this.kill()
    this.#state = this.#fresh()
    this.start()
  }

  /** The socket breaks; the agent notices and dials again. */
  breakLink(): void {
    this.#ws?.terminate()
  }

  get welcomed(): boolean {
    return this.#state.link.phase === 'welcomed'
  }

  /** Says something the agent would not. */
  say(message: unknown): void {
    this.#ws?.send(JSON.stringify(message))
  }

  step(event: AgentEvent): void {
    if (this.#dead) return
    const now = { wall: Date.now(), mono: performance.now() }
    const { state, effects } = agentStep(this.#state, event, now)
    this.#state = state
    for (const effect of effects) if (!this.#dead) this.#do(effect)
  }

  #fresh(): AgentState {
    const self = {
      node_id: this.identity.nodeId,
      version: '1.0.0',
      backend: 'kernel',
      public_key: `${'N'.repeat(43)}=`,
    }
    return createAgent({ ...self, backend: 'kernel' }, readJournal(this.#journal))
  }

  #write(compact: boolean, entries: readonly unknown[]): void {
    const text = entries.map((entry) => `${JSON.stringify(entry)}\n`).join('')
    this.#journal = compact ? text : this.#journal + text
  }

  #do(effect: AgentEffect): void {
    switch (effect.type) {
      case 'persist':
        return this.#write(effect.compact, effect.entries)
      case 'kernel': {
        const { batch } = effect
        const results = effect.ops.map((op) => this.kernel.write(op))
        const { interfaceId: interface_id } = this.kernel
        return void setImmediate(() => this.step({ type: 'kernel_done', batch, interface_id, results }))
      }
      case 'read_kernel': {
        const { interfaceId: interface_id } = this.kernel
        const peers = [...this.kernel.peers.values()]
        return void setImmediate(() => this.step({ type: 'kernel_dump', interface_id, peers }))
      }
      case 'dial':
        this.#dial = setTimeout(() => this.#open(effect.link), effect.after_ms)
        return
      case 'sign':
        return this.step({
          type: 'signed',
          link: effect.link,
          signature: proofOf(this.identity, effect.installation, effect.nonce),
        })
      case 'send':
        if (!this.mute(effect.message)) this.say(effect.message)
        return
      case 'close':
        return this.#ws?.close()
      case 'rotate_key':
        return this.step({ type: 'key_rotated', public_key: `${'R'.repeat(43)}=` })
      case 'exit':
        this.exited = effect.reason
        return this.kill()
      case 'configure':
      case 'warn':
    }
  }

  #open(link: number): void {
    const ws = new WebSocket(this.url, { perMessageDeflate: false, headers: this.#headers })
    this.#ws = ws
    ws.on('open', () => this.step({ type: 'link_opened', link }))
    ws.on('message', (data: Buffer) => {
      const parsed = parseServerMessage(data)
      if (!parsed.ok) return this.step({ type: 'link_invalid', link, reason: parsed.error })
      this.heard.push(parsed.message)
      this.step({ type: 'link_message', link, message: parsed.message })
    })
    ws.on('error', () => undefined)
    ws.on('close', (code) => {
      this.closes.push(code)
      this.step({ type: 'link_closed', link, random: 0 })
    })
  }
}
