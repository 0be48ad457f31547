import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import fc from 'fast-check'
import type { SlotChange } from '@prime-vpn/node-protocol'
import type { Db } from '../platform/db/index.ts'
import { newId } from '../platform/ids.ts'
import { claimTunnel, type Claim } from './claim-store.ts'
import { desiredState } from './desired-state.ts'
import { sealPsk } from './psk.ts'
import { aUser, houseWithServer, publicKey, type House } from './testing/house.ts'

const PSK = Buffer.alloc(32, 7).toString('base64')
const stateOf = (h: House) => desiredState(h.sql, h.deps.secrets)

/** The horizon once it has passed what is committed: a transaction of any database of the cluster may hold it up. */
async function settledHorizon(h: House & { server: string }): Promise<string> {
  const [changed] = await h.sql<{ xid: string }[]>`select max(changed_xid)::text as xid from leases`
  for (;;) {
    const { horizon } = await stateOf(h).changesSince(h.server, null)
    if (BigInt(horizon) > BigInt(changed?.xid ?? '0')) return horizon
    await sleep(20)
  }
}

async function claim(db: Db, h: House & { server: string }, userId: string): Promise<Claim> {
  const connectionId = newId()
  const sealedPsk = sealPsk(h.deps.secrets, connectionId, PSK)
  const claimed = await claimTunnel(db, {
    connectionId,
    userId,
    deviceId: null,
    publicKey: publicKey(),
    generated: true,
    sealedPsk,
    candidates: [h.server],
    restSeconds: 0,
    overlapMs: 30_000,
  })
  if (claimed.outcome !== 'connected') throw new Error(claimed.outcome)
  return claimed
}

test('a node is told a peer as key, preshared key and two addresses, and nothing of its owner', async (t) => {
  const h = await houseWithServer(t)
  const { body } = await h.call('POST', '/vpn/connect', await aUser(h.sql), {})
  const { rows } = await stateOf(h).changesSince(h.server, null)
  const [key] = await h.sql`select client_public_key as k from connections`
  assert.deepEqual(rows, [
    {
      slot: rows[0]?.slot,
      version: 1,
      peer: {
        public_key: key?.k,
        preshared_key: body.preshared_key,
        allowed_ips: [`${body.assigned_ip}/32`, `${body.assigned_ipv6}/128`],
      },
    },
  ])
})

test('an end is told as an empty slot of the next version; the whole state names empty slots too', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  await h.call('POST', '/vpn/connect', user, {})
  const before = await stateOf(h).changesSince(h.server, null)
  h.node.mode = 'dead'
  await h.call('POST', '/vpn/disconnect', user, {})
  const told = await stateOf(h).changesSince(h.server, before.horizon)
  const gone = [{ slot: before.rows[0]?.slot, version: 2, peer: null }]
  assert.deepEqual(told.rows, gone)
  assert.deepEqual((await stateOf(h).changesSince(h.server, null)).rows, gone)
  const later = await settledHorizon(h)
  assert.deepEqual((await stateOf(h).changesSince(h.server, later)).rows, [], 'and no more than once it is old')
})

test('a horizon this database has never reached is answered with everything', async (t) => {
  const h = await houseWithServer(t)
  await h.call('POST', '/vpn/connect', await aUser(h.sql), {})
  const { rows } = await stateOf(h).changesSince(h.server, '9223372036854775807')
  assert.equal(rows.length, 1)
})

test('an address rests only after its node confirmed the removal of that very version', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  await h.call('POST', '/vpn/connect', user, {})
  h.node.mode = 'dead'
  await h.call('POST', '/vpn/disconnect', user, {})
  const [lease] = await h.sql<{ slot: number }[]>`select slot from leases where state = 'clearing'`
  const slot = lease?.slot ?? -1
  const state = async () => (await h.sql`select state from leases where slot = ${slot}`)[0]?.state
  await stateOf(h).cleared(h.server, [{ slot, version: 1 }])
  assert.equal(await state(), 'clearing')
  await stateOf(h).clearedBelow(h.server, '3')
  assert.equal(await state(), 'clearing')
  await stateOf(h).clearedBelow(h.server, await settledHorizon(h))
  assert.equal(await state(), 'reserve')
  await stateOf(h).cleared(h.server, [{ slot, version: 2 }])
  assert.equal(await state(), 'reserve', 'twice is the same as once')
})

test('a change that took its number early and commits late is not missed', async (t) => {
  const h = await houseWithServer(t)
  const [early, late] = [await aUser(h.sql), await aUser(h.sql)]
  const committed = Promise.withResolvers<void>()
  const begun = Promise.withResolvers<Claim>()
  const open = h.sql.begin(async (tx) => {
    begun.resolve(await claim(tx, h, early))
    await committed.promise
  })
  const first = await begun.promise
  const second = await claim(h.sql, h, late)
  const seen = await stateOf(h).changesSince(h.server, null)
  assert.deepEqual(
    seen.rows.map((row) => row.slot),
    [second.slot],
  )
  committed.resolve()
  await open
  const { rows } = await stateOf(h).changesSince(h.server, seen.horizon)
  assert.ok(rows.some((row) => row.slot === first.slot && row.peer !== null))
})

test('a reader never misses a change, in whatever order transactions commit', async (t) => {
  const h = await houseWithServer(t)
  const users = await Promise.all(Array.from({ length: 40 }, () => aUser(h.sql, 'premium_monthly')))
  const random = fc.sample(fc.record({ wait: fc.nat(25), keep: fc.boolean(), end: fc.boolean() }), {
    numRuns: 40,
    seed: 7,
  })
  const known = new Map<number, SlotChange>()
  let horizon: string | null = null
  const read = async (): Promise<void> => {
    const told: { horizon: string; rows: SlotChange[] } = await stateOf(h).changesSince(h.server, horizon)
    horizon = told.horizon
    for (const row of told.rows) if ((known.get(row.slot)?.version ?? -1) <= row.version) known.set(row.slot, row)
  }
  const writing = { on: true }
  const reader = (async () => {
    while (writing.on) {
      await read()
      await sleep(2)
    }
  })()
  await Promise.all(
    users.map(async (user, i) => {
      const { wait = 0, keep, end } = random[i] ?? {}
      await h.sql
        .begin(async (tx) => {
          const { connection } = await claim(tx, h, user)
          await sleep(wait)
          if (end) await tx`select end_connections(${[connection]}::uuid[], 'user')`
          if (!keep) throw new Error('rolled back')
        })
        .catch((error: Error) => assert.equal(error.message, 'rolled back'))
    }),
  )
  writing.on = false
  await reader
  await read()
  const truth = await stateOf(h).changesSince(h.server, null)
  const sorted = (rows: Iterable<SlotChange>) => [...rows].toSorted((a, b) => a.slot - b.slot)
  assert.ok(truth.rows.length > 10)
  assert.deepEqual(sorted(known.values()), sorted(truth.rows))
})
