import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type CounterReport, emptyAccount, foldCounters } from './counters.ts'

/** What a kernel counts: growing within an epoch, from zero in the next. */
const history = fc
  .array(fc.array(fc.tuple(fc.bigInt(0n, 2n ** 62n), fc.bigInt(0n, 2n ** 62n)), { minLength: 1, maxLength: 6 }), {
    minLength: 1,
    maxLength: 4,
  })
  .map((epochs) =>
    epochs.flatMap((steps, index): CounterReport[] => {
      let [rx, tx] = [0n, 0n]
      return steps.map(([moreRx, moreTx]) => {
        rx += moreRx
        tx += moreTx
        return { epoch: 1000 + index, rx: String(rx), tx: String(tx), handshake_at: index }
      })
    }),
  )

const foldAll = (reports: readonly CounterReport[]) => reports.reduce(foldCounters, emptyAccount)

/** The last report of each epoch added up. */
function truth(reports: readonly CounterReport[]): { rx: bigint; tx: bigint } {
  const last = new Map(reports.map((report) => [report.epoch, report]))
  const sum = (of: (report: CounterReport) => bigint) => [...last.values()].reduce((all, one) => all + of(one), 0n)
  return { rx: sum(({ rx }) => BigInt(rx)), tx: sum(({ tx }) => BigInt(tx)) }
}

test('reports in order add up to the last of every epoch, exactly, beyond 2^53', () => {
  fc.assert(
    fc.property(history, (reports) => {
      const { rx, tx } = foldAll(reports)
      assert.deepEqual({ rx, tx }, truth(reports))
    }),
  )
})

test('a report told twice counts once', () => {
  fc.assert(
    fc.property(history, (reports) => {
      const doubled = reports.flatMap((report) => [report, report])
      assert.deepEqual(foldAll(doubled), foldAll(reports))
    }),
  )
})

test('a lost report is repaired by the next one of its epoch', () => {
  fc.assert(
    fc.property(history, fc.infiniteStream(fc.boolean()), (reports, coin) => {
      const lastOfEpoch = (index: number) => reports[index + 1]?.epoch !== reports[index]?.epoch
      const some = reports.filter((_, index) => lastOfEpoch(index) || coin.next().value)
      assert.deepEqual(foldAll(some), foldAll(reports))
    }),
  )
})

test('late and repeated reports in any order never lower a total and never count more than the kernel did', () => {
  fc.assert(
    fc.property(
      history.chain((reports) => fc.tuple(fc.constant(reports), fc.shuffledSubarray(reports))),
      ([all, some]) => {
        let account = emptyAccount
        const { rx, tx } = truth(all)
        for (const report of [...some, ...some]) {
          const next = foldCounters(account, report)
          assert.ok(next.rx >= account.rx && next.tx >= account.tx)
          account = next
        }
        assert.ok(account.rx <= rx && account.tx <= tx)
      },
    ),
  )
})

test('a report that tells nothing new gives back the same account', () => {
  const report = { epoch: 5, rx: '10', tx: '20', handshake_at: 3 }
  const account = foldCounters(emptyAccount, report)
  assert.equal(foldCounters(account, report), account)
  assert.equal(foldCounters(account, { ...report, epoch: 4, rx: '99' }), account)
})
