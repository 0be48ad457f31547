import type { Sql } from '../platform/db/index.ts'

export const SYNC_JOB = 'billing.sync'
export const RESOLVE_JOB = 'billing.resolve'

/** What is kept of a webhook's event. */
export type ReceivedEvent = {
  id: string
  type: string
  created: Date
  objectId: string | null
  /** Stripe's customer, where the event names one. */
  customer: string | null
}

/** Events in one statement; more wait for the next. */
const AT_ONCE = 200

/**
 * Stores events and queues their work in one statement, so that an event that was acknowledged is never lost. Those that
 * come while a statement runs share the next one: a burst costs few commits.
 */
export class Inbox {
  private readonly db: Sql
  #waiting: { event: ReceivedEvent; done: () => void; failed: (error: unknown) => void }[] = []
  #running = false

  constructor(db: Sql) {
    this.db = db
  }

  /** Resolves once the event is stored, or was before. @throws when it could not be: Stripe sends it again */
  put(event: ReceivedEvent): Promise<void> {
    return new Promise((done, failed) => {
      this.#waiting.push({ event, done, failed })
      if (!this.#running) void this.#drain()
    })
  }

  async #drain(): Promise<void> {
    this.#running = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, AT_ONCE)
      try {
        await this.#store(batch.map(({ event }) => event))
        for (const { done } of batch) done()
      } catch (error) {
        for (const { failed } of batch) failed(error)
      }
    }
    this.#running = false
  }

  /**
   * One job per customer, however many events: it reads the present state. Customers of another product of the same
   * Stripe account have none: ours are written down before anything of theirs can be bought. Keys in one order, so that
   * writers never wait in a ring.
   */
  async #store(events: ReceivedEvent[]): Promise<void> {
    const { db } = this
    await db`
      with given as (
        select distinct on (id) * from unnest(
          ${events.map(({ id }) => id)}::text[], ${events.map(({ type }) => type)}::text[],
          ${events.map(({ objectId }) => objectId)}::text[], ${events.map(({ customer }) => customer)}::text[],
          ${events.map(({ created }) => created.toISOString())}::text[]) as e(id, type, object_id, customer, created)
      ), fresh as (
        insert into billing_events (id, type, object_id, stripe_customer_id, created_at, applied_at)
        select g.id, g.type, g.object_id, g.customer, g.created::timestamptz,
               case when g.customer is not null and c.id is null then clock_timestamp() end
          from given g left join billing_customers c on c.stripe_customer_id = g.customer order by g.id
        on conflict (id) do nothing
        returning id, stripe_customer_id, applied_at
      ), work as (
        select distinct case when stripe_customer_id is null then ${RESOLVE_JOB} else ${SYNC_JOB} end as job,
               coalesce(stripe_customer_id, id) as subject
          from fresh where applied_at is null order by subject
      )
      select graphile_worker.add_job(work.job,
               payload := case when work.job = ${SYNC_JOB} then json_build_object('customer', work.subject)
                               else json_build_object('event', work.subject) end,
               job_key := work.job || ':' || work.subject)
        from work`
  }
}

/**
 * Queues the work of stored events again whose job was lost: the queue keeps a job of a killed process locked for hours.
 * Running one twice is harmless.
 * @param olderThan seconds since they were received
 */
export async function requeueEvents(db: Sql, olderThan: number): Promise<void> {
  await db`
    select graphile_worker.add_job(work.job,
             payload := case when work.job = ${SYNC_JOB} then json_build_object('customer', work.subject)
                             else json_build_object('event', work.subject) end,
             job_key := work.job || ':' || work.subject)
      from (select distinct case when stripe_customer_id is null then ${RESOLVE_JOB} else ${SYNC_JOB} end as job,
                   coalesce(stripe_customer_id, id) as subject
              from billing_events
             where applied_at is null and received_at < clock_timestamp() - make_interval(secs => ${olderThan})
               and received_at > clock_timestamp() - interval '3 days'
             order by subject limit 1000) work`
}
