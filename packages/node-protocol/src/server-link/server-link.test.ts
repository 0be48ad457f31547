import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeMessage, SlotApplied, SlotChange } from '../messages.ts'
import { CLOSE, createLink, linkStep, type LinkEffect, type LinkEvent, type LinkState } from '../server-link.ts'
import { CONFIG, INSTALLATION } from '../testing/agent-host.ts'
import { keyOf, peerOf } from '../testing/bench.ts'

type Of<T extends LinkEffect['type']> = Extract<LinkEffect, { type: T }>

/** A link on a desk: reads are answered by hand, time moves when told. */
class Desk {
  now = 0
  effects: LinkEffect[] = []
  #link: LinkState = createLink({ installation: INSTALLATION })

  step(event: LinkEvent): this {
    const { state, effects } = linkStep(this.#link, event, this.now)
    this.#link = state
    this.effects.push(...effects)
    return this
  }

  hear(message: NodeMessage): this {
    return this.step({ type: 'message', message })
  }

  /** Opens the link; `revision` null asks for a snapshot. */
  open(revision: string | null): this {
    this.step({ type: 'opened', nonce: 'n'.repeat(22) })
    const resume = revision === null ? null : { installation: INSTALLATION, revision }
    this.hear({ type: 'auth', version: 1, node_id: INSTALLATION, signature: 's', resume, agent })
    return this.step({ type: 'verified', config: CONFIG, watch: [] })
  }

  rows(horizon: number, ...rows: SlotChange[]): this {
    return this.step({ type: 'rows', since: null, horizon: String(horizon), rows })
  }

  applied(revision: number, ...slots: SlotApplied[]): this {
    return this.hear({ type: 'applied', revision: String(revision), complete: false, slots })
  }

  wait(ms: number, buffered = 0): this {
    for (let passed = 0; passed < ms; passed += 1000) {
      this.now += 1000
      this.step({ type: 'tick', buffered })
    }
    return this
  }

  /** The effects of one type since the last call; forgets all others too. */
  took<T extends LinkEffect['type']>(type: T): Of<T>[] {
    return this.effects.splice(0).filter((effect): effect is Of<T> => effect.type === type)
  }

  said(): string[] {
    return this.took('send').map(({ message }) =>
      message.type === 'changes'
        ? `changes ${message.since}..${message.revision}: ${message.changes.map((c) => `${c.slot}v${c.version}`).join(' ')}`
        : message.type,
    )
  }
}

const agent = { version: '1', backend: 'kernel', public_key: keyOf(1) } as const
const held = (slot: number, version: number): SlotChange => ({ slot, version, peer: peerOf(slot) })
const done = (slot: number, version: number): SlotApplied => ({ slot, version, ok: true, held: true })

test('a node that knows nothing gets all slots, held and empty apart, in a snapshot that says it is whole', () => {
  const link = new Desk().open(null)
  assert.deepEqual(link.took('read'), [{ type: 'read', since: null }])
  link.rows(9, held(1, 3), { slot: 2, version: 4, peer: null })
  const [send] = link.took('send')
  assert.deepEqual(send?.message, {
    type: 'snapshot',
    revision: '9',
    complete: true,
    count: 1,
    peers: [{ slot: 1, version: 3, peer: peerOf(1) }],
    empty: [{ slot: 2, version: 4 }],
  })
})

test('a node that resumes gets what changed since, and a greeting when nothing did', () => {
  const link = new Desk().open('5')
  assert.deepEqual(link.took('read'), [{ type: 'read', since: '5' }])
  link.rows(5)
  assert.deepEqual(link.said(), ['changes 5..5: '])
})

test('a node of another installation gets a snapshot', () => {
  const link = new Desk()
  link.step({ type: 'opened', nonce: 'n'.repeat(22) })
  const resume = { installation: '00000000-0000-4000-8000-000000000009', revision: '5' }
  link.hear({ type: 'auth', version: 1, node_id: INSTALLATION, signature: 's', resume, agent })
  link.step({ type: 'verified', config: CONFIG, watch: [] })
  assert.deepEqual(link.took('read'), [{ type: 'read', since: null }])
})

test('one read at a time: what changes meanwhile is read once, afterwards', () => {
  const link = new Desk().open('5').step({ type: 'woken' }).step({ type: 'woken' }).step({ type: 'woken' })
  assert.equal(link.took('read').length, 1)
  link.rows(6, held(1, 1))
  assert.deepEqual(link.took('read'), [{ type: 'read', since: '6' }])
  link.rows(6)
  assert.deepEqual(link.took('read'), [])
})

test('of several rows of one slot the latest is told, and nothing twice while it is under way', () => {
  const link = new Desk().open('5')
  link.said()
  link.rows(5, held(1, 1), held(1, 3), held(1, 2))
  assert.deepEqual(link.said(), ['changes 5..5: 1v3'])
  link.step({ type: 'woken' }).rows(5, held(1, 3))
  assert.deepEqual(link.said(), [])
  link.step({ type: 'woken' }).rows(5, held(1, 4))
  assert.deepEqual(link.said(), ['changes 5..5: 1v4'])
})

test('a change told before its horizon is told again when the horizon passes it unacknowledged', () => {
  const link = new Desk().open('5').rows(5, held(1, 1))
  link.said()
  link.step({ type: 'woken' }).rows(7, held(1, 1))
  assert.deepEqual(link.said(), ['changes 5..7: 1v1'])
  link.applied(5, done(1, 1)).step({ type: 'woken' }).rows(8, held(1, 1), held(2, 1))
  assert.deepEqual(link.said(), ['changes 7..8: 2v1'])
})

test('a horizon does not stand for a change that was told above it', () => {
  const link = new Desk().open('5').rows(7, held(1, 1))
  link.step({ type: 'woken' }).rows(7, held(2, 1)).applied(7, done(1, 1))
  link.said()
  link.step({ type: 'woken' }).rows(8, held(2, 1))
  assert.deepEqual(link.said(), ['changes 7..8: 2v1'])
})

test('what is not acknowledged is read again from the acknowledged horizon and told again after ten seconds', () => {
  const link = new Desk().open('5').rows(7, held(1, 1))
  link.wait(9000)
  assert.equal(link.took('read').length, 1)
  link.wait(2000)
  assert.deepEqual(link.took('read'), [{ type: 'read', since: '5' }])
  link.rows(7, held(1, 1))
  assert.deepEqual(link.said(), ['changes 7..7: 1v1'])
})

test('acknowledgements tell live peers, confirmed removals, failures and final counters, counters first', () => {
  const link = new Desk().open('5').rows(9, held(1, 1), { slot: 2, version: 4, peer: null }, held(3, 1))
  link.effects = []
  const final = { slot: 2, version: 3, epoch: 1, rx: '5', tx: '6', handshake_at: 0 }
  const failure = { slot: 3, version: 1, ok: false, held: false, error: 'busy' }
  link.applied(5, done(1, 1), { slot: 2, version: 4, ok: true, held: false, final }, failure)
  assert.deepEqual(link.effects, [
    { type: 'counters', seq: null, at: null, peers: [final] },
    {
      type: 'acknowledged',
      slots: [
        { slot: 1, version: 1, held: true },
        { slot: 2, version: 4, held: false },
      ],
    },
    { type: 'failed', slots: [{ slot: 3, version: 1, error: 'busy' }] },
  ])
})

test('a horizon is complete once, never backwards, and never past what was told', () => {
  const link = new Desk().open('5')
  assert.deepEqual(link.took('complete'), [{ type: 'complete', revision: '5' }])
  link.rows(7, held(1, 1)).applied(99).applied(7, done(1, 1)).applied(6).applied(7)
  assert.deepEqual(link.took('complete'), [{ type: 'complete', revision: '7' }])
})

test('a lost wake-up is made good by the read every minute, which also moves the horizon', () => {
  const link = new Desk().open('5').rows(5)
  link.effects = []
  link.wait(61_000)
  assert.deepEqual(link.took('read'), [{ type: 'read', since: '5' }])
  link.rows(8)
  assert.deepEqual(link.said(), ['changes 5..8: '])
})

test('a failed read is tried again and loses nothing', () => {
  const link = new Desk().open(null)
  link.step({ type: 'read_failed' })
  assert.equal(link.took('read').length, 1)
  link.wait(2000)
  assert.deepEqual(link.took('read'), [{ type: 'read', since: null }])
})

test('a node that asks for a snapshot gets one, not more often than every five seconds', () => {
  const link = new Desk().open('5').rows(5)
  link.effects = []
  link.hear({ type: 'resync', reason: 'gap' })
  assert.deepEqual(link.took('read'), [{ type: 'read', since: null }])
  link.rows(9, held(1, 1)).hear({ type: 'resync', reason: 'gap' })
  assert.deepEqual(link.took('read'), [])
  link.wait(6000)
  assert.deepEqual(link.took('read'), [{ type: 'read', since: null }])
})

test('a node that acknowledges nothing for thirty seconds is closed and may resume', () => {
  const link = new Desk().open('5').rows(7, held(1, 1))
  link.wait(29_000)
  assert.deepEqual(link.took('close'), [])
  link.wait(2000)
  assert.deepEqual(link.took('close'), [{ type: 'close', code: CLOSE.too_slow, reason: 'acknowledges nothing' }])
})

test('with a full socket nothing is read; when it stays full the link is closed', () => {
  const full = 9 * 1024 * 1024
  const link = new Desk().open('5').rows(5)
  link.effects = []
  link.wait(1000, full).step({ type: 'woken' })
  assert.deepEqual(link.took('read'), [])
  link.wait(1000, 0)
  assert.equal(link.took('read').length, 1)
  link.rows(5).wait(32_000, full)
  assert.equal(link.took('close')[0]?.code, CLOSE.too_slow)
})

test('before the proof nothing else is heard, and the proof must come in time', () => {
  const rude = new Desk().step({ type: 'opened', nonce: 'n'.repeat(22) })
  rude.applied(3, done(1, 1))
  assert.equal(rude.took('close')[0]?.code, CLOSE.protocol)
  const mute = new Desk().step({ type: 'opened', nonce: 'n'.repeat(22) }).wait(11_000)
  assert.equal(mute.took('close')[0]?.code, CLOSE.auth_timeout)
})

test('a refused node is closed, a dismissed one is told to stop first', () => {
  const link = new Desk().step({ type: 'opened', nonce: 'n'.repeat(22) })
  link.hear({ type: 'auth', version: 1, node_id: INSTALLATION, signature: 's', resume: null, agent })
  link.step({ type: 'refused', reason: 'replaced', dismissed: true })
  assert.deepEqual(link.effects.slice(-2), [
    { type: 'send', message: { type: 'dismissed', reason: 'replaced' } },
    { type: 'close', code: CLOSE.unauthorized, reason: 'replaced' },
  ])
})

test('a message that does not parse closes the link; after that nothing happens any more', () => {
  const link = new Desk().open('5').step({ type: 'invalid', error: 'not JSON' })
  assert.equal(link.took('close')[0]?.code, CLOSE.protocol)
  link.rows(9, held(1, 1)).step({ type: 'woken' }).wait(120_000)
  assert.deepEqual(link.effects, [])
})

test('a database that knows less than the node tells nothing and closes', () => {
  const link = new Desk().open('50').rows(9, held(1, 1))
  assert.deepEqual(link.took('close')[0]?.code, CLOSE.protocol)
})

test('reports and their receipt pass through in order', () => {
  const link = new Desk().open('5')
  const counters = { slot: 1, version: 1, epoch: 1, rx: '5', tx: '6', handshake_at: 0 }
  link.hear({ type: 'report', seq: 1, at: 7, peers: [counters] }).step({ type: 'counted', seq: 1 })
  assert.deepEqual(link.effects.slice(-2), [
    { type: 'counters', seq: 1, at: 7, peers: [counters] },
    { type: 'send', message: { type: 'counted', seq: 1 } },
  ])
})

test('the watch list is told with the welcome and when it changes', () => {
  const link = new Desk().open('5')
  link.effects = []
  link
    .step({ type: 'watch', slots: [] })
    .step({ type: 'watch', slots: [1, 2] })
    .step({ type: 'watch', slots: [1, 2] })
  assert.deepEqual(link.said(), ['watch'])
})

test('exits are handed on as they were told, and nothing is heard of a stranger', () => {
  const exits: NodeMessage = { type: 'exits', addresses: ['203.0.113.1', '2001:db8::1'] }
  assert.deepEqual(new Desk().open(null).hear(exits).took('exits'), [exits])
  const stranger = new Desk().step({ type: 'opened', nonce: 'n'.repeat(22) }).hear(exits)
  assert.equal(stranger.effects.at(-1)?.type, 'close')
  assert.equal(stranger.took('exits').length, 0)
})
