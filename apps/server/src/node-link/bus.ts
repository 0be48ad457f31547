import type { z } from 'zod'
import type { Sql } from '../platform/db/index.ts'
import { KvUnavailable, type Kv } from '../platform/kv/index.ts'
import type { Log } from '../platform/log.ts'
import { Answer, Command } from './bus-messages.ts'

const COMMANDS = 'node-link'
const answersTo = (instance: string): string => `node-link@${instance}`
/** PostgreSQL's channel that stands in while Redis is away. */
const STAND_IN = 'node_link_bus'
/** PostgreSQL takes no longer notification. */
const MAX_NOTIFICATION_BYTES = 7_900

export interface Bus {
  /** To every other instance. */
  tellAll(command: Command): void
  tell(instance: string, answer: Answer): void
  start(on: { command: (command: Command) => void; answer: (answer: Answer) => void }): Promise<void>
  stop(): Promise<void>
}

function read<T>(schema: z.ZodType<T>, text: string, take: (message: T) => void): void {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return
  }
  // What another release says and we do not know is passed over.
  const parsed = schema.safeParse(value)
  if (parsed.success) take(parsed.data)
}

/**
 * How instances speak of links they do not hold: the key-value store, and PostgreSQL's notifications while that is out of
 * reach. At most once: whoever asks has a deadline, and the database is read anyway.
 */
export function createBus(deps: { kv: Kv; db: Sql; log: Log; instance: string }): Bus {
  const { kv, db, log, instance } = deps
  const ends: (() => void | Promise<void>)[] = []

  function publish(channel: string, text: string): void {
    kv.publish(channel, text).catch((error: unknown) => {
      if (error instanceof KvUnavailable) return notify(channel, text)
      log.warn({ err: error }, 'node-link bus')
    })
  }

  function notify(channel: string, text: string): void {
    const payload = JSON.stringify([channel, text])
    if (Buffer.byteLength(payload) > MAX_NOTIFICATION_BYTES) return
    db.notify(STAND_IN, payload).then(undefined, (err: unknown) => log.warn({ err }, 'node-link bus'))
  }

  return {
    tellAll: (command) => publish(COMMANDS, JSON.stringify(command)),
    tell: (to, answer) => publish(answersTo(to), JSON.stringify(answer)),

    async start(on) {
      const take = (channel: string, text: string): void => {
        if (channel === COMMANDS) read(Command, text, on.command)
        if (channel === answersTo(instance)) read(Answer, text, on.answer)
      }
      for (const channel of [COMMANDS, answersTo(instance)]) {
        ends.push(await kv.subscribe(channel, (text) => take(channel, text)))
      }
      const listening = await db.listen(STAND_IN, (payload) => {
        const [channel, text] = JSON.parse(payload) as [string, string]
        take(channel, text)
      })
      ends.push(() => listening.unlisten())
    },

    async stop() {
      for (const end of ends.splice(0)) await end()
    },
  }
}
