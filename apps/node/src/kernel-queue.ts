import type { KernelOp, KernelResult } from '@prime-vpn/node-protocol'
import { WireguardError, type PeerOp, type PeerState } from '@prime-vpn/wireguard'
import { CannotRun, oneLine } from './failures.ts'
import type { Flusher } from './flusher.ts'
import type { KnowingDriver } from './held-keys.ts'

export type KernelQueueDeps = {
  driver: KnowingDriver
  flusher: Flusher
  /** Hears the outcome of each batch once, with one result for each operation in its order. */
  done: (batch: number, results: KernelResult[]) => void
}

export type KernelQueue = {
  push: (batch: number, ops: readonly KernelOp[]) => void
  /** Runs `task` between two groups of changes. */
  between: (task: () => Promise<void>) => void
  /** Resolves when all that was pushed is done. */
  idle: () => Promise<void>
}

/** One operation under way, with the place of its result. */
type Job = { op: KernelOp; results: (KernelResult | undefined)[]; index: number; settle: () => void }
type Item = { jobs: Job[] } | { task: () => Promise<void> }

/**
 * Writes peers. Whatever waits is taken together, in waves in which each key appears once: first, in one write, the
 * peers that go are muted (from here no packet of theirs passes) and the new ones set; then one reading of the counters
 * serves all that go, whatever their number; then they are removed and their flows forgotten. A batch is done when the
 * last of its operations is, so additions do not wait for the flows of those who left.
 */
export function kernelQueue(deps: KernelQueueDeps): KernelQueue {
  const waiting: Item[] = []
  const open = new Set<Promise<void>>()
  let running: Promise<void> | null = null

  const work = async (): Promise<void> => {
    for (;;) {
      const [first] = waiting
      if (!first) return
      if ('task' in first) {
        waiting.shift()
        await first.task()
      } else {
        const until = waiting.findIndex((item) => 'task' in item)
        const items = waiting.splice(0, until === -1 ? waiting.length : until)
        for (const wave of waves(items.flatMap((item) => ('jobs' in item ? item.jobs : []))))
          await runWave(deps.driver, deps.flusher, wave, (late) => track(open, late))
      }
    }
  }
  const start = (): void => {
    running ??= work().finally(() => {
      running = null
      if (waiting.length > 0) start()
    })
  }
  return {
    push: (batch, ops) => {
      waiting.push({ jobs: jobsOf(ops, (results) => deps.done(batch, results)) })
      start()
    },
    between: (task) => {
      waiting.push({ task })
      start()
    },
    idle: async () => {
      for (;;) {
        const underWay = [...(running ? [running] : []), ...open]
        if (underWay.length === 0) return
        await Promise.all(underWay)
      }
    },
  }
}

function jobsOf(ops: readonly KernelOp[], done: (results: KernelResult[]) => void): Job[] {
  const results: (KernelResult | undefined)[] = ops.map(() => undefined)
  let left = ops.length
  if (left === 0) done([])
  const settle = (): void => {
    if (--left === 0) done(results.map((result) => result ?? { ok: false, error: 'not carried out' }))
  }
  return ops.map((op, index) => ({ op, results, index, settle }))
}

const keyOf = (op: KernelOp): string => ('peer' in op ? op.peer.public_key : op.public_key)
const addressesOf = (op: KernelOp): readonly string[] => ('peer' in op ? op.peer.allowed_ips : op.allowed_ips)
const leaves = (op: KernelOp): boolean => op.op === 'remove' || op.op === 'purge'

/** Cuts the jobs where a key comes a second time, or an address comes to somebody after it was taken from another. */
export function* waves(jobs: readonly Job[]): Generator<Job[]> {
  let wave: Job[] = []
  let keys = new Set<string>()
  let freed = new Set<string>()
  for (const job of jobs) {
    const reused = !leaves(job.op) && addressesOf(job.op).some((address) => freed.has(address))
    if (reused || keys.has(keyOf(job.op))) {
      yield wave
      wave = []
      keys = new Set()
      freed = new Set()
    }
    wave.push(job)
    keys.add(keyOf(job.op))
    if (leaves(job.op)) for (const address of addressesOf(job.op)) freed.add(address)
  }
  if (wave.length > 0) yield wave
}

/** Writes that must know what the kernel counted for a peer before it goes: all but additions and changes in place. */
const endsACount = (driver: KnowingDriver, op: KernelOp): boolean =>
  op.op !== 'set' || (op.fresh && driver.mayHold(op.peer.public_key))

async function runWave(
  driver: KnowingDriver,
  flusher: Flusher,
  wave: readonly Job[],
  later: (work: Promise<void>) => void,
): Promise<void> {
  const ending = wave.filter(({ op }) => endsACount(driver, op))
  const begun = new Set(ending)
  const sets = wave.filter((job) => !begun.has(job))
  const gone = ending.filter(({ op }) => leaves(op))
  // An address is given again only when the flows of its former holder are forgotten.
  await flusher.of(wave.flatMap(({ op }) => (leaves(op) ? [] : addressesOf(op))))
  const failed = await write(driver, [
    ...sets.map((job) => ({ job, ops: inPlace(job.op) })),
    ...gone.map((job): Write => ({ job, ops: [{ op: 'mute', publicKey: keyOf(job.op) }] })),
  ])
  for (const job of sets) finish(job, failed.get(job) ?? { ok: true, last: null })
  if (ending.length === 0) return

  const counters = await read(driver)
  // Without their last counters nobody is removed: those who go are mute, and asked for again.
  if (!(counters instanceof Map)) return ending.forEach((job) => finish(job, counters))
  const notRemoved = await write(
    driver,
    ending.map((job) => ({ job, ops: anew(job.op) })),
  )
  const resultOf = (job: Job): KernelResult =>
    notRemoved.get(job) ?? failed.get(job) ?? { ok: true, last: lastOf(counters.get(keyOf(job.op))) }
  for (const job of ending) if (!leaves(job.op)) finish(job, resultOf(job))
  const flushed = flusher.flush(gone.flatMap(({ op }) => addressesOf(op)))
  later(
    flushed.then(
      () => gone.forEach((job) => finish(job, resultOf(job))),
      (error: unknown) => gone.forEach((job) => finish(job, failure(error))),
    ),
  )
}

/** Who is not held needs no removal first: WireGuard would make a peer, with its costly key exchange, to remove it. */
function inPlace(op: KernelOp): PeerOp[] {
  if (!('peer' in op)) return []
  const { public_key: publicKey, preshared_key: presharedKey, allowed_ips } = op.peer
  return [{ op: 'set', peer: { publicKey, presharedKey, allowedIps: [...allowed_ips] } }]
}

/** Ends a count: removes, and for who stays adds again in the same write. */
const anew = (op: KernelOp): PeerOp[] => [{ op: 'remove', publicKey: keyOf(op) }, ...inPlace(op)]

type Write = { job: Job; ops: PeerOp[] }

/** Writes all at once; when that fails, one by one, so that a bad one does not take the others with it. */
async function write(driver: KnowingDriver, writes: readonly Write[]): Promise<Map<Job, KernelResult>> {
  const failed = new Map<Job, KernelResult>()
  const all = writes.flatMap(({ ops }) => ops)
  if (all.length === 0) return failed
  try {
    // Mutes first within the write: whoever goes is silent before anybody else is looked at.
    await driver.apply([...all.filter(({ op }) => op === 'mute'), ...all.filter(({ op }) => op !== 'mute')])
    return failed
  } catch (error) {
    if (!(await driver.exists().catch(() => false))) {
      for (const { job } of writes) failed.set(job, failure(error))
      return failed
    }
  }
  for (const { job, ops } of writes) await driver.apply(ops).catch((error: unknown) => failed.set(job, failure(error)))
  return failed
}

/** The counters of all peers by key, or why they cannot be read: then nothing may be removed for good. */
async function read(driver: KnowingDriver): Promise<Map<string, PeerState> | KernelResult> {
  try {
    return new Map((await driver.dump()).peers.map((peer) => [peer.publicKey, peer]))
  } catch (error) {
    return failure(error)
  }
}

const lastOf = (peer: PeerState | undefined): (KernelResult['last'] & object) | null =>
  peer ? { rx: peer.rx, tx: peer.tx, handshake_at: peer.handshakeAt } : null

function finish(job: Job, result: KernelResult): void {
  job.results[job.index] = result
  job.settle()
}

/** What may be told of a fault: other programs' complaints can hold addresses. */
function failure(error: unknown): KernelResult {
  const tell = error instanceof WireguardError || error instanceof CannotRun
  return { ok: false, error: tell ? oneLine(error.message) : 'a tool failed' }
}

function track(open: Set<Promise<void>>, work: Promise<void>): void {
  open.add(work)
  void work.finally(() => open.delete(work))
}
