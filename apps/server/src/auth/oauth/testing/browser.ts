import type { LightMyRequestResponse } from 'fastify'
import { PUBLIC_URL, type House } from '../../testing/house.ts'

type Cookie = { name: string; value: string; path: string }
export type Page = { status: number; url: string; text: string; headers: LightMyRequestResponse['headers'] }

const MOST_REDIRECTS = 10

/** A browser without script: cookies, redirects and forms, over `inject`. Stops where a redirect leaves the service. */
export class Browser {
  /** By name and path: pages that are open at once have their own. */
  #cookies = new Map<string, Cookie>()
  readonly #house: Pick<House, 'app'>
  readonly #headers: Record<string, string>
  /** Redirects to such a path are not followed: the answer has its `url`. */
  halt: RegExp | undefined
  /** Every answer on the way, newest last. */
  readonly seen: Page[] = []

  constructor(house: Pick<House, 'app'>, headers: Record<string, string> = {}) {
    this.#house = house
    this.#headers = headers
  }

  /** Another window of the same browser: the same cookies. */
  window(): Browser {
    const other = new Browser(this.#house, this.#headers)
    other.#cookies = this.#cookies
    return other
  }

  go(url: string): Promise<Page> {
    return this.#follow('GET', url)
  }

  /** Sends the form of the page whose action ends so, with its hidden fields and these. */
  submit(page: Page, actionEnd: string, fields: Record<string, string>): Promise<Page> {
    const forms = page.text.match(/<form[^]*?<\/form>/g) ?? []
    const form = forms.find((text) => new RegExp(`action="[^"]*${actionEnd}"`).test(text))
    if (form === undefined) throw new Error(`no form ${actionEnd} on:\n${page.text}`)
    const action = /action="([^"]*)"/.exec(form)?.[1] ?? ''
    const body = new URLSearchParams()
    for (const [, name, value] of form.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g))
      body.set(name ?? '', value ?? '')
    for (const [name, value] of Object.entries(fields)) body.set(name, value)
    return this.#follow('POST', new URL(action, page.url).href, body.toString())
  }

  get cookies(): readonly string[] {
    return [...this.#cookies.values()].map(({ name }) => name)
  }

  async #follow(method: 'GET' | 'POST', url: string, payload?: string): Promise<Page> {
    let [how, where, body] = [method, url, payload]
    for (let i = 0; i < MOST_REDIRECTS; i++) {
      const page = await this.#once(how, where, body)
      this.seen.push(page)
      const { location } = page.headers
      if (location === undefined) return page
      ;[how, where, body] = ['GET', new URL(location, where).href, undefined]
      if (!where.startsWith(`${PUBLIC_URL}/`) || this.halt?.test(where)) return { ...page, url: where }
    }
    throw new Error('too many redirects')
  }

  async #once(method: 'GET' | 'POST', url: string, payload?: string): Promise<Page> {
    const { pathname, search } = new URL(url, PUBLIC_URL)
    const cookie = [...this.#cookies.values()]
      .filter(({ path }) => pathname === path || pathname.startsWith(path.endsWith('/') ? path : `${path}/`))
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ')
    const answer = await this.#house.app.inject({
      method,
      url: pathname + search,
      headers: {
        ...(cookie ? { cookie } : {}),
        ...(payload === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
        ...this.#headers,
      },
      ...(payload === undefined ? {} : { payload }),
    })
    for (const { name, value, path = '/', maxAge, expires } of answer.cookies) {
      const key = `${name} ${path}`
      if (value === '' || maxAge === 0 || (expires && expires.getTime() < Date.now())) this.#cookies.delete(key)
      else this.#cookies.set(key, { name, value, path })
    }
    return {
      status: answer.statusCode,
      url: PUBLIC_URL + pathname + search,
      text: answer.body,
      headers: answer.headers,
    }
  }
}
