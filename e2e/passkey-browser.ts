import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'

/** Milliseconds a browser on a busy machine may take for one command. */
const ANSWER_MS = 20_000

type Params = Record<string, unknown>
type Message = { id?: number; method?: string; sessionId?: string; result?: Params; error?: { message: string } }
type Waiting = { resolve: (result: Params) => void; reject: (error: Error) => void }

/** What a page answers to a call of our API. */
export type Said<T> = { status: number; body: T }

/** A headless Chromium, driven over a pipe by the DevTools protocol (chromedevtools.github.io/devtools-protocol). */
export class Browser {
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, Waiting>()
  readonly #listeners = new Map<string, () => void>()
  #n = 0
  #rest = ''

  /** @param folder for its profile; the caller removes it */
  constructor(folder: string) {
    mkdirSync(folder, { recursive: true })
    const args = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking']
    this.#process = spawn('chromium', [...args, '--remote-debugging-pipe', `--user-data-dir=${folder}`], {
      env: { PATH: process.env.PATH ?? '', HOME: folder },
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    })
    const said = this.#process.stdio[4] as Readable
    said.setEncoding('utf8').on('data', (text: string) => this.#read(text))
    this.#process.once('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the browser ended'))
    })
  }

  /** Messages end with a zero byte. */
  #read(text: string): void {
    const messages = (this.#rest + text).split('\0')
    this.#rest = messages.pop() ?? ''
    for (const message of messages) this.#take(JSON.parse(message) as Message)
  }

  #take({ id, method, sessionId, result, error }: Message): void {
    if (id === undefined) {
      this.#listeners.get(`${sessionId ?? ''} ${method ?? ''}`)?.()
      return
    }
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error) waiting?.reject(new Error(error.message))
    else waiting?.resolve(result ?? {})
  }

  /** @throws when the browser refuses, has ended, or does not answer in time */
  send<T = Params>(method: string, params: Params = {}, sessionId?: string): Promise<T> {
    const id = ++this.#n
    return new Promise<T>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${method}: no answer within ${ANSWER_MS} ms`)), ANSWER_MS)
      const settle =
        <A>(done: (value: A) => void) =>
        (value: A): void => {
          clearTimeout(late)
          done(value)
        }
      this.#waiting.set(id, { resolve: settle((result) => resolve(result as T)), reject: settle(reject) })
      const pipe = this.#process.stdio[3] as Writable
      pipe.write(`${JSON.stringify({ id, method, params, ...(sessionId ? { sessionId } : {}) })}\0`)
    })
  }

  /** Resolves when the page says this next; ask before doing what brings it about. */
  next(method: string, sessionId: string): Promise<void> {
    return new Promise((resolve) => void this.#listeners.set(`${sessionId} ${method}`, resolve))
  }

  async page(): Promise<Page> {
    const { targetId } = await this.send<{ targetId: string }>('Target.createTarget', { url: 'about:blank' })
    const attach = { targetId, flatten: true }
    const { sessionId } = await this.send<{ sessionId: string }>('Target.attachToTarget', attach)
    await this.send('Page.enable', {}, sessionId)
    return new Page(this, sessionId)
  }

  async close(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const gone = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await gone
  }
}

/** A tab. */
export class Page {
  readonly #browser: Browser
  readonly #session: string
  constructor(browser: Browser, session: string) {
    this.#browser = browser
    this.#session = session
  }

  send<T = Params>(method: string, params: Params = {}): Promise<T> {
    return this.#browser.send<T>(method, params, this.#session)
  }

  async open(url: string): Promise<void> {
    const loaded = this.#browser.next('Page.loadEventFired', this.#session)
    await this.send('Page.navigate', { url })
    await loaded
  }

  forgetCookies = (): Promise<object> => this.send('Network.clearBrowserCookies')

  /** Runs a function, given as text, in the page. @throws what it throws, as the page tells it */
  async run<T>(script: string, ...args: unknown[]): Promise<T> {
    const answer = await this.send<{
      result: { value: T }
      exceptionDetails?: { exception?: { description?: string } }
    }>('Runtime.evaluate', {
      expression: `(${script})(...${JSON.stringify(args)})`,
      awaitPromise: true,
      returnByValue: true,
      userGesture: true,
    })
    const { exceptionDetails: fault } = answer
    if (fault) throw new Error(fault.exception?.description ?? 'the page threw')
    return answer.result.value
  }

  /** Calls our API as a script of the page does; without a token the browser's cookies speak. */
  call<T>(method: string, path: string, token?: string, body?: unknown): Promise<Said<T>> {
    const script = `async (path, method, token, body) => {
      const headers = {}
      if (token) headers.authorization = 'Bearer ' + token
      if (body) headers['content-type'] = 'application/json'
      const res = await fetch('/api/v1' + path, { method, headers, body: body ? JSON.stringify(body) : undefined })
      return { status: res.status, body: await res.json() }
    }`
    return this.run(script, path, method, token ?? null, body ?? null)
  }

  /** A page may ask for passkeys only while it has the focus. */
  async #ask(script: string, options: object): Promise<object> {
    await this.send('Page.bringToFront')
    return this.run(script, options)
  }

  /** `navigator.credentials.create` with the options as the server gave them. */
  create = (options: object): Promise<object> =>
    this.#ask(
      `async (options) => {
        const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options)
        return (await navigator.credentials.create({ publicKey })).toJSON()
      }`,
      options,
    )

  /** `navigator.credentials.get` likewise. */
  get = (options: object): Promise<object> =>
    this.#ask(
      `async (options) => {
        const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options)
        return (await navigator.credentials.get({ publicKey })).toJSON()
      }`,
      options,
    )
}

/** A passkey as the virtual authenticator holds it, private key included. */
export type HeldPasskey = { credentialId: string; rpId: string; userHandle: string; signCount: number }

/** A virtual authenticator of a tab, like the one in a phone: keeps passkeys, asks nobody, verifies its user or not. */
export class Authenticator {
  readonly #page: Page
  readonly #id: string
  constructor(page: Page, id: string) {
    this.#page = page
    this.#id = id
  }

  /** A new one in place of all others of the tab. */
  static async in(page: Page): Promise<Authenticator> {
    await page.send('WebAuthn.disable')
    await page.send('WebAuthn.enable')
    const options = {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    }
    const { authenticatorId } = await page.send<{ authenticatorId: string }>('WebAuthn.addVirtualAuthenticator', {
      options,
    })
    return new Authenticator(page, authenticatorId)
  }

  async held(): Promise<HeldPasskey[]> {
    const asked = { authenticatorId: this.#id }
    return (await this.#page.send<{ credentials: HeldPasskey[] }>('WebAuthn.getCredentials', asked)).credentials
  }

  /** Holds this passkey alone: one that another phone made, a copy taken earlier, one that counts otherwise. */
  async hold(credential: HeldPasskey): Promise<void> {
    const authenticatorId = this.#id
    await this.#page.send('WebAuthn.clearCredentials', { authenticatorId })
    await this.#page.send('WebAuthn.addCredential', { authenticatorId, credential })
  }

  /** Whether the person before it shows the right finger from now on. */
  async verifiesUser(isUserVerified: boolean): Promise<void> {
    await this.#page.send('WebAuthn.setUserVerified', { authenticatorId: this.#id, isUserVerified })
  }
}
