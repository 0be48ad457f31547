import { lookup } from 'node:dns'
import { request } from 'node:https'
import type { LookupFunction } from 'node:net'
import type { Log } from '../platform/log.ts'
import { parseAddress, type Address } from './address/address.ts'
import type { Now } from './limiter/limiter.ts'

const STORM_BANS = 20
const STORM_WITHIN_MS = 60_000
const SAME_AGAIN_MS = 5 * 60_000
const TIMEOUT_MS = 5_000

export type Alert = { at: Date; text: string }

type Deps = {
  log: Log
  now: Now
  /** Where an operator wants to hear of alerts. */
  webhook: string | undefined
  appName: string
  isPrivate: (address: Address) => boolean
}

/** Tells staff what needs a person: in the log, to listeners, and at the operator's webhook. */
export class Alerts {
  readonly #deps: Deps
  readonly #toldAt = new Map<string, number>()
  readonly #listeners = new Set<(alert: Alert) => void>()
  #bans: number[] = []

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** @returns ends the subscription */
  on(listener: (alert: Alert) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Counts an automatic ban; many in a minute are a storm. */
  banned(): void {
    const now = this.#deps.now()
    this.#bans = this.#bans.filter((at) => at > now - STORM_WITHIN_MS).slice(-STORM_BANS)
    this.#bans.push(now)
    if (this.#bans.length >= STORM_BANS) this.raise(`ban storm: ${STORM_BANS} addresses or more banned within a minute`)
  }

  /** The same text is told once in five minutes. */
  raise(text: string): void {
    const { log, now, webhook } = this.#deps
    const told = this.#toldAt.get(text)
    if (told !== undefined && now() - told < SAME_AGAIN_MS) return
    this.#toldAt.set(text, now())
    log.error({ alert: text }, 'alert')
    const alert = { at: new Date(), text }
    for (const listener of this.#listeners) listener(alert)
    if (webhook !== undefined)
      this.#post(webhook, alert).catch((err: unknown) => log.warn({ err }, 'the alert webhook did not take the alert'))
  }

  /** Follows no redirect and reaches no private address, whatever the name resolves to. */
  #post(url: string, { at, text }: Alert): Promise<void> {
    const { isPrivate, appName } = this.#deps
    const body = JSON.stringify({ text: `${appName}: ${text}`, at: at.toISOString() })
    const publicOnly: LookupFunction = (host, options, done) => {
      lookup(host, { ...options, all: true }, (error, found) => {
        const fit = (found ?? []).filter(({ address }) => {
          const parsed = parseAddress(address)
          return parsed !== null && !isPrivate(parsed)
        })
        const [first] = fit
        if (error || !first) return done(error ?? new Error('resolves to no public address'), '', 4)
        if (options.all) return done(null, fit)
        return done(null, first.address, first.family)
      })
    }
    return new Promise((resolve, reject) => {
      const { hostname } = new URL(url)
      const literal = parseAddress(hostname.replace(/^\[|\]$/g, ''))
      if (literal && isPrivate(literal)) return reject(new Error('is a private address'))
      const sent = request(url, {
        method: 'POST',
        lookup: publicOnly,
        timeout: TIMEOUT_MS,
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      })
      sent.on('timeout', () => sent.destroy(new Error('did not answer in time')))
      sent.on('error', reject)
      sent.on('response', (answer) => {
        answer.resume()
        const { statusCode = 0 } = answer
        if (statusCode >= 200 && statusCode < 300) resolve()
        else reject(new Error(`answered ${statusCode}`))
      })
      sent.end(body)
    })
  }
}
