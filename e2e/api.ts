import { WebSocket } from 'ws'

export type Connection = {
  connection_id: string
  server_public_key: string
  assigned_ip: string
  assigned_ipv6: string
  wg_config: string
}
export type Status = {
  connection_id: string
  bytes_sent: number
  bytes_received: number
  last_handshake: string | null
}
export type Ended = { status: string; bytes_sent: number; bytes_received: number; totals_final: boolean }
export type Frame = {
  type: string
  connection_id: string
  bytes_sent: number
  bytes_received: number
  status?: string
  reason?: string
}
export type Answer<T> = { status: number; body: T & { error?: { code: string } } }

/** The API as its users call it. */
export class Api {
  readonly base: string
  #admin = ''
  #n = 0
  constructor(base: string) {
    this.base = base
  }

  async ready(): Promise<boolean> {
    return fetch(`${this.base}/health/ready`).then(
      (res) => res.ok,
      () => false,
    )
  }

  async call<T>(method: string, path: string, token?: string, body?: unknown): Promise<Answer<T>> {
    const res = await fetch(`${this.base}/api/v1${path}`, {
      method,
      headers: {
        ...(token ? { authorization: `Bearer ${token}` } : {}),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await res.text()
    return { status: res.status, body: (text ? JSON.parse(text) : {}) as Answer<T>['body'] }
  }

  /** The body of a call that must succeed. */
  async must<T>(method: string, path: string, token?: string, body?: unknown): Promise<T> {
    const answer = await this.call<T>(method, path, token, body)
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer.body
  }

  async signInAdmin(email: string, password: string): Promise<void> {
    this.#admin = (
      await this.must<{ access_token: string }>('POST', '/auth/login', undefined, { email, password })
    ).access_token
  }

  admin<T>(method: string, path: string, body?: unknown): Promise<T> {
    return this.must<T>(method, path, this.#admin, body)
  }

  createServer(more: Record<string, unknown>): Promise<{ id: string }> {
    this.#n++
    return this.admin('POST', '/admin/servers', {
      hostname: `node${this.#n}.example.com`,
      country: 'Germany',
      country_code: 'DE',
      city: 'Berlin',
      location: 'de-berlin',
      tier: 'free',
      ...more,
    })
  }

  async servers(): Promise<{ id: string; status: string }[]> {
    return (await this.admin<{ servers: { id: string; status: string }[] }>('GET', '/servers')).servers
  }

  /** Registers and signs in. */
  async user(): Promise<User> {
    this.#n++
    const credentials = { email: `user${this.#n}@example.com`, password: 'an ordinary pass phrase' }
    await this.must('POST', '/auth/register', undefined, credentials)
    const signedIn = await this.must<{ access_token: string; user: { id: string } }>(
      'POST',
      '/auth/login',
      undefined,
      credentials,
    )
    return new User(this, signedIn.user.id, signedIn.access_token)
  }
}

export class User {
  readonly id: string
  readonly token: string
  readonly #api: Api
  constructor(api: Api, id: string, token: string) {
    this.#api = api
    this.id = id
    this.token = token
  }

  tryConnect = (body: unknown = {}): Promise<Answer<Connection>> =>
    this.#api.call('POST', '/vpn/connect', this.token, body)
  connect = (body: unknown = {}): Promise<Connection> => this.#api.must('POST', '/vpn/connect', this.token, body)
  disconnect = (id: string): Promise<Ended> => this.#api.must('POST', `/vpn/disconnect/${id}`, this.token)

  async status(): Promise<Status[]> {
    return (await this.#api.must<{ connections: Status[] }>('GET', '/vpn/status', this.token)).connections
  }

  /** Opens the live socket; frames come into the list. */
  async socket(): Promise<{ frames: Frame[]; close(): void }> {
    const ws = new WebSocket(`${this.#api.base.replace('http', 'ws')}/ws/connection/${this.id}`, [
      'prime.v1',
      `bearer.${this.token}`,
    ])
    const frames: Frame[] = []
    ws.on('message', (data: Buffer) => frames.push(JSON.parse(data.toString()) as Frame))
    ws.on('error', () => undefined)
    await new Promise((resolve, reject) => void ws.once('open', resolve).once('error', reject))
    return { frames, close: () => ws.close() }
  }
}
