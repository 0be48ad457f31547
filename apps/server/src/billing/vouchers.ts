import { createHash, randomBytes } from 'node:crypto'
import { audit } from '../platform/audit.ts'
import { violatedConstraint, type Tx } from '../platform/db/index.ts'
import { Conflict, invalidField } from '../platform/errors.ts'
import type { Idempotency, Page } from '../platform/http/index.ts'
import { newId } from '../platform/ids.ts'
import type { Actor } from './admin-plans.ts'
import { giveDays } from './grants.ts'
import { nowOf, type Parts } from './parts.ts'
import { plannedPurchase } from './prices.ts'

const DAY_MS = 86_400_000
/** Without letters and digits that look alike. */
const ALPHABET = '23456789ABCDEFGHJKMNPQRSTUVWXYZ'
const GROUPS = 6
const GROUP = 5

/** 30 characters of 31: 148 random bits. */
function newCode(): string {
  const letters: string[] = []
  while (letters.length < GROUPS * GROUP) {
    for (const byte of randomBytes(GROUPS * GROUP)) {
      // The largest multiple of the alphabet below 256, so that each letter is as likely.
      if (byte < 248 && letters.length < GROUPS * GROUP) letters.push(ALPHABET[byte % ALPHABET.length] ?? '')
    }
  }
  return letters.join('').replace(/(.{5})(?!$)/g, '$1-')
}

/** Case, spaces and dashes are as people type them. */
const hashOf = (code: string): Buffer =>
  createHash('sha256').update('voucher\0').update(code.toUpperCase().replaceAll(/[\s-]/g, '')).digest()

export type VoucherWish = { plan_id: string; days: number; count: number; valid_days: number }

/** What one call made and nobody has used. Its codes were shown to nobody. */
const takeBack = (tx: Tx, batchId: string) =>
  tx`delete from vouchers where batch_id = ${batchId} and redeemed_at is null`

/**
 * A repeat of a call that died half-way takes back what it finds: the codes are lost.
 * @returns the codes, which are shown this once
 */
export async function createVouchers(
  parts: Parts,
  actor: Actor,
  wish: VoucherWish,
  idempotency: Idempotency | null = null,
) {
  const plan = await plannedPurchase(parts.db, wish.plan_id)
  const expires_at = new Date(parts.clock.now() + wish.valid_days * DAY_MS)
  const codes = Array.from({ length: wish.count }, newCode)
  const [batch_id, created_at] = [newId(), nowOf(parts)]
  const rows = codes.map((code) => ({
    id: newId(),
    batch_id,
    code_hash: hashOf(code),
    plan_id: plan.id,
    days: wish.days,
    created_by: actor.userId,
    created_at,
    expires_at,
  }))
  await parts.db.begin(async (tx) => {
    if (idempotency?.found) await takeBack(tx, idempotency.found)
    await tx`insert into vouchers ${tx(rows)}`
    await idempotency?.mark(tx, batch_id)
    await audit(tx, {
      actor: actor.userId,
      action: 'vouchers.created',
      subject: { type: 'plan', id: plan.id },
      requestId: actor.requestId,
    })
  })
  return { plan_id: plan.id, days: wish.days, expires_at, codes }
}

/** Newest first, without their codes. */
export async function listVouchers({ db }: Parts, { page, per_page }: Page) {
  const data = await db<
    { id: string; plan_id: string; days: number; created_at: Date; expires_at: Date; redeemed_at: Date | null }[]
  >`
    select id, plan_id, days, created_at, expires_at, redeemed_at from vouchers
     order by created_at desc, id desc limit ${per_page} offset ${(page - 1) * per_page}`
  const [{ total } = { total: 0n }] = await db<{ total: bigint }[]>`select count(*) as total from vouchers`
  return { data, total: Number(total) }
}

/**
 * Redeems a code: of any number of takers one gets it, in one transaction with what it gives.
 * @throws {InvalidInput} unknown, used or run out, all told alike; {Conflict} a paid subscription or another plan runs
 */
export async function redeemVoucher(
  parts: Parts,
  userId: string,
  code: string,
  idempotency: Idempotency | null = null,
): Promise<void> {
  const now = nowOf(parts)
  try {
    await parts.db.begin(async (tx) => {
      await tx`select from users where id = ${userId} for no key update`
      const [voucher] = await tx<{ plan_id: string; days: number }[]>`
        update vouchers set redeemed_at = ${now}, redeemed_by = ${userId}
         where code_hash = ${hashOf(code)} and redeemed_at is null and expires_at > ${now}
        returning plan_id, days`
      if (!voucher) throw invalidField('code', 'is not a code that can be redeemed')
      await giveDays(parts, tx, userId, { planId: voucher.plan_id, days: voucher.days, source: 'voucher' })
      await idempotency?.mark(tx, userId)
    })
  } catch (error) {
    if (violatedConstraint(error) === 'subscriptions_one_live')
      throw new Conflict('Another plan was begun at this moment.')
    throw error
  }
}
