import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname } from 'node:path'
import { answerApi } from './api.ts'
import { completeCheckout, type Card } from './checkout.ts'
import { Delivery } from './delivery.ts'
import { StripeFailure } from './failure.ts'
import { newMethod } from './methods.ts'
import { dispute } from './money.ts'
import { pageFor } from './pages.ts'
import { emptyState, Store, type State } from './store.ts'
import { advance } from './time.ts'
import type { CardBehaviour, StripeEvent } from './types.ts'
import { makeEvent, type World } from './world.ts'

/** What happens to a call instead of, or after, its work: for tests of a Stripe that is away or answers into the void. */
export type Fault = 'refuse' | 'drop-before' | 'drop-after' | undefined

export type StandinOptions = {
  /** Where the state is kept between starts; without it in memory alone. */
  file?: string
  port?: number
  /** Milliseconds since 1970: the clock's start, and what signatures are dated with. */
  now?: () => number
  /** Whether its own clock moves with `now`; a test moves it by `advance` alone. */
  follow?: boolean
}

const BODY_LIMIT = 256 * 1024

/** A small HTTP server that speaks Stripe's wire format. Development and tests only: production refuses the switch. */
export class StripeStandin {
  apiKey = `sk_test_standin_${randomBytes(12).toString('hex')}`
  readonly webhookSecret = `whsec_${randomBytes(24).toString('hex')}`
  readonly delivery: Delivery
  readonly store: Store
  readonly #options: StandinOptions
  readonly #server = createServer((req, res) => void this.#serve(req, res))
  readonly #now: () => number
  #base = ''
  #saving: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  /** Judges each API call before it is worked on. */
  fault: (method: string, path: string) => Fault = () => undefined
  /** Hears every API call: `POST /v1/customers`. */
  readonly calls: string[] = []

  private constructor(options: StandinOptions, state: State | undefined) {
    this.#options = options
    this.#now = options.now ?? (() => Date.now())
    this.store = new Store(state ?? emptyState(Math.floor(this.#now() / 1000)))
    this.delivery = new Delivery(this.webhookSecret, () => Math.floor(this.#now() / 1000))
  }

  /** Listens on the loopback address. */
  static async start(options: StandinOptions = {}): Promise<StripeStandin> {
    const standin = new StripeStandin(options, options.file === undefined ? undefined : await readState(options.file))
    await new Promise<void>((resolve, reject) => {
      standin.#server.once('error', reject)
      standin.#server.listen(options.port ?? 0, '127.0.0.1', resolve)
    })
    const { port } = standin.#server.address() as AddressInfo
    standin.#base = `http://127.0.0.1:${port}`
    if (options.follow) standin.#timer = setInterval(() => standin.#followClock(), 1_000).unref()
    return standin
  }

  get base(): string {
    return this.#base
  }
  get #world(): World {
    return {
      store: this.store,
      base: () => this.#base,
      emit: (type, object, previous) => {
        const event = makeEvent(this.store.now, type, object, previous)
        this.store.state.events.push(event)
        if (this.store.state.events.length > 1_000) this.store.state.events.shift()
        this.delivery.send(event)
      },
    }
  }
  get events(): readonly StripeEvent[] {
    return this.store.state.events
  }
  /** Moves the clock on; renewals, retries and expiries on the way happen. */
  advance(seconds: number): void {
    advance(this.#world, this.store.now + seconds)
    this.#save()
  }
  #followClock(): void {
    const now = Math.floor(this.#now() / 1000)
    if (now > this.store.now) advance(this.#world, now)
  }
  /** What a customer does on the hosted page. @returns whether it was paid */
  pay(sessionId: string, card: Card = { behaviour: 'pays', last4: '4242' }, code?: string): boolean {
    return completeCheckout(this.#world, this.store.get('checkout.session', sessionId), card, code)
  }
  /** A card as Stripe.js hands it to an app. */
  card(behaviour: CardBehaviour = 'pays'): string {
    return newMethod(this.store, behaviour, '4242').id
  }
  dispute(chargeId: string): void {
    dispute(this.#world, chargeId)
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of req as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > BODY_LIMIT) return void res.writeHead(413).end()
      chunks.push(chunk)
    }
    const body = Buffer.concat(chunks).toString()
    const [path = '/', query = ''] = (req.url ?? '/').split('?')
    const method = req.method ?? 'GET'
    if (!path.startsWith('/v1/')) return this.#servePage(res, method, path, body)
    this.calls.push(`${method} ${path}`)
    const fault = this.fault(method, path)
    if (fault === 'drop-before') return void req.socket.destroy()
    if (fault === 'refuse') {
      res.writeHead(503, { 'content-type': 'application/json', 'stripe-should-retry': 'false' })
      return void res.end('{"error":{"type":"api_error","message":"Stripe is away."}}')
    }
    const answer = answerApi(this.#world, this.apiKey, { method, path, query, body, headers: req.headers })
    if (method !== 'GET') this.#save()
    if (fault === 'drop-after') return void req.socket.destroy()
    res.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers }).end(answer.text)
  }

  #servePage(res: ServerResponse, method: string, path: string, body: string): void {
    let answer
    try {
      answer = pageFor(this.#world, method, path, body)
    } catch (error) {
      if (!(error instanceof StripeFailure)) throw error
      res.writeHead(error.status, { 'content-type': 'text/plain; charset=utf-8' }).end(error.message)
      return
    }
    if (method === 'POST') this.#save()
    if (!answer) return void res.writeHead(404, { 'content-type': 'text/plain' }).end('There is no such page.')
    if ('redirect' in answer) return void res.writeHead(303, { location: answer.redirect }).end()
    res.writeHead(answer.status, {
      'content-type': 'text/html; charset=utf-8',
      'x-content-type-options': 'nosniff',
      'content-security-policy':
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    })
    res.end(answer.html)
  }

  /** Writes run one after the other, the last state wins. */
  #save(): void {
    const { file } = this.#options
    if (file === undefined) return
    const before = this.#saving
    this.#saving = (async () => {
      await before
      await mkdir(dirname(file), { recursive: true })
      await writeFile(`${file}.new`, JSON.stringify(this.store.state), { mode: 0o600 })
      await rename(`${file}.new`, file)
    })().catch(() => undefined)
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.delivery.close()
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
    await this.#saving
  }
}

async function readState(file: string): Promise<State | undefined> {
  try {
    // What a file of an earlier version does not have yet is empty.
    return { ...emptyState(0), ...(JSON.parse(await readFile(file, 'utf8')) as State) }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
