import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { haversineKm, unitVector } from './distance.ts'
import { choose, emptyBoard, setUsed, totalScore, type Board } from './score.ts'
import { seeded } from './testing/random.ts'

type Row = {
  used?: number
  max?: number
  seats?: number
  takes?: boolean
  premium?: boolean
  ping?: number
  at?: [number, number]
}

function boardOf(rows: Row[]): Board {
  const board = emptyBoard(rows.length)
  rows.forEach(({ used = 0, max = 250, seats = max, takes = true, premium = false, ping, at }, i) => {
    board.max[i] = max
    setUsed(board, i, used)
    board.seats[i] = seats
    board.takes[i] = takes ? 1 : 0
    board.premium[i] = premium ? 1 : 0
    if (ping !== undefined) board.ping[i] = ping
    if (at) board.where.set(unitVector({ latitude: at[0], longitude: at[1] }), 3 * i)
  })
  return board
}

const first = { premium: true, random: () => 0, limit: 8 }
const berlin = { latitude: 52.52, longitude: 13.4 }

test('the least loaded server comes first, then the others by load', () => {
  assert.deepEqual(choose(boardOf([{ used: 90 }, { used: 10 }, { used: 50 }]), first), [1, 2, 0])
})

test('load is a share of the room, not a count', () => {
  assert.deepEqual(
    choose(
      boardOf([
        { used: 20, max: 100 },
        { used: 30, max: 1000 },
      ]),
      first,
    ),
    [1, 0],
  )
})

test('what is full, away or above the plan is never chosen', () => {
  const rows: Row[] = [
    { used: 250 },
    { takes: false },
    { premium: true },
    { used: 200 },
    { used: 3, max: 10, seats: 3 },
  ]
  assert.deepEqual(choose(boardOf(rows), { ...first, premium: false }), [3])
  assert.deepEqual(choose(boardOf(rows.slice(0, 3)), { ...first, premium: false }), [])
})

test('with `full` also those without room are named, by load', () => {
  assert.deepEqual(choose(boardOf([{ used: 260 }, { used: 250 }, { takes: false }]), { ...first, full: true }), [1, 0])
})

test('fallbacks of equal load are ordered by ping, unknown last', () => {
  const board = boardOf([{ used: 1 }, { used: 9 }, { used: 9, ping: 40 }, { used: 9, ping: 5 }])
  assert.deepEqual(choose(board, first), [0, 3, 2, 1])
})

test('of equally loaded servers the nearest is chosen, and distance comes before ping', () => {
  const paris: [number, number] = [48.86, 2.35]
  const tokyo: [number, number] = [35.68, 139.7]
  const board = boardOf([{ at: tokyo, ping: 1 }, { at: paris, ping: 90 }, {}, { at: [52.5, 13.3], ping: 99 }])
  for (const draw of [0, 0.5, 0.999])
    assert.deepEqual(choose(board, { ...first, random: () => draw, place: berlin }), [3, 1, 0, 2])
})

test('a clearly emptier server wins over a nearer one', () => {
  assert.equal(
    choose(
      boardOf([
        { used: 50, at: [52.5, 13.4] },
        { used: 10, at: [35.7, 139.7] },
      ]),
      { ...first, place: berlin },
    )[0],
    1,
  )
})

test('equals are drawn by their free capacity', () => {
  const board = boardOf([{ max: 100 }, { max: 300 }])
  const random = seeded(7)
  const draws = Array.from({ length: 4000 }, () => choose(board, { ...first, random })[0])
  const share = draws.filter((row) => row === 1).length / draws.length
  assert.ok(share > 0.71 && share < 0.79, `${share}`)
})

test('the choice is a fitting server within two tunnels and one percent of the least loaded, none is named twice', () => {
  const row = fc.record({
    max: fc.integer({ min: 1, max: 2000 }),
    share: fc.double({ min: 0, max: 1.1, noNaN: true }),
    takes: fc.boolean(),
    premium: fc.boolean(),
    ping: fc.option(fc.double({ min: 0, max: 500, noNaN: true }), { nil: undefined }),
    at: fc.option(
      fc.tuple(fc.double({ min: -90, max: 90, noNaN: true }), fc.double({ min: -180, max: 180, noNaN: true })),
      { nil: undefined },
    ),
  })
  const place = fc.option(fc.constant(berlin), { nil: undefined })
  fc.assert(
    fc.property(
      fc.array(row, { maxLength: 30 }),
      fc.boolean(),
      place,
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (rows, premium, from, draw) => {
        const board = boardOf(
          rows.map(({ share, at, ping, ...r }) => ({
            ...r,
            used: Math.floor(share * r.max),
            ...(at ? { at } : {}),
            ...(ping === undefined ? {} : { ping }),
          })),
        )
        const used = (i: number) => board.used[i] ?? 0
        const max = (i: number) => board.max[i] ?? 1
        const fitting = rows.flatMap((r, i) => (r.takes && (premium || !r.premium) && used(i) < max(i) ? [i] : []))
        const chosen = choose(board, { premium, place: from, random: () => draw, limit: 8 })
        assert.equal(chosen.length, Math.min(8, fitting.length))
        assert.equal(new Set(chosen).size, chosen.length)
        assert.ok(chosen.every((i) => fitting.includes(i)))
        const [best] = chosen
        if (best === undefined) return
        const lowest = Math.min(...fitting.map((i) => used(i) / max(i)))
        assert.ok(used(best) / max(best) <= lowest + Math.min(0.01, 2 / max(best)) + 1e-9)
      },
    ),
    { numRuns: 500 },
  )
})

test('of 1,000 connects at once the busiest server gets at most a tenth more than the mean', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 2, max: 100 }), fc.boolean(), (seed, servers, known) => {
      const board = boardOf(
        Array.from({ length: servers }, (_, i) => ({ max: 1000, at: [i % 80, i] as [number, number], ping: i })),
      )
      const random = seeded(seed)
      const place = known ? berlin : undefined
      for (let n = 0; n < 1000; n++) {
        const [row = 0] = choose(board, { premium: true, place, random, limit: 8 })
        setUsed(board, row, (board.used[row] ?? 0) + 1)
      }
      const busiest = Math.max(...board.used)
      // Below ten a server a single tunnel is more than a tenth.
      assert.ok(busiest / Math.ceil(1000 / servers) <= 1.1, `${servers} servers: ${busiest}`)
    }),
    { numRuns: 60 },
  )
})

test('four processes that do not see each other spread 1,000 connects within 1.3 of the mean', () => {
  const random = seeded(11)
  const boards = Array.from({ length: 4 }, () => boardOf(Array.from({ length: 20 }, () => ({}))))
  for (let n = 0; n < 1000; n++) {
    const board = boards[n % 4]
    assert.ok(board)
    const [row = 0] = choose(board, { premium: true, random, limit: 8 })
    setUsed(board, row, (board.used[row] ?? 0) + 1)
  }
  const sums = Array.from({ length: 20 }, (_, i) => boards.reduce((sum, board) => sum + (board.used[i] ?? 0), 0))
  assert.ok(Math.max(...sums) / 50 <= 1.3, `${Math.max(...sums)}`)
})

test('distances agree with known ones', () => {
  const paris = { latitude: 48.8566, longitude: 2.3522 }
  assert.ok(Math.abs(haversineKm({ latitude: 51.5074, longitude: -0.1278 }, paris) - 343.6) < 1)
  assert.ok(Math.abs(haversineKm({ latitude: 0, longitude: 0 }, { latitude: 0, longitude: 180 }) - 20_015) < 1)
  assert.equal(haversineKm(paris, paris), 0)
})

test('a score falls with load first, then with distance, then with ping; unknown counts as worst', () => {
  const ordered = [
    totalScore(1, 100, 500),
    totalScore(1, 9000, 1),
    totalScore(1, 9000, 400),
    totalScore(1, 9000, null),
    totalScore(1, null, 1),
    totalScore(2, 0, 0),
    totalScore(100, null, null),
  ]
  assert.deepEqual(
    ordered,
    ordered.toSorted((a, b) => b - a),
  )
  assert.equal(new Set(ordered).size, ordered.length)
})
