import type { Db } from '../platform/db/index.ts'
import { EXIT_FRESH_S, EXITS_MS } from './timing.ts'

/** Addresses of servers, and exits their nodes reported, where the link was up lately. */
const readExits = (db: Db) => db<{ address: string }[]>`
  select distinct host(a) as address
    from nodes n join vpn_servers s on s.id = n.server_id
   cross join unnest(array_append(n.exit_addresses, s.ip_address)) a
   where n.last_seen_at > clock_timestamp() - make_interval(secs => ${EXIT_FRESH_S})`

/**
 * Where our tunnels come out, in memory. While the database is away the last state known stays: customers behind a node
 * do not become one caller because we cannot look.
 */
export class Exits {
  addresses: readonly string[] = []
  readonly #db: Db
  #readAt = -Infinity

  constructor(db: Db) {
    this.#db = db
  }

  /** Looks, unless it did a moment ago. @throws when the database cannot be read */
  async look(): Promise<void> {
    const now = performance.now()
    if (now - this.#readAt < EXITS_MS) return
    this.addresses = (await readExits(this.#db)).map(({ address }) => address)
    this.#readAt = now
  }
}
