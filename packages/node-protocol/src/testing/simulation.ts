import { AgentHost, type Surroundings, type Touched } from './agent-host.ts'
import { checkAtRest, Watchdog } from './invariants.ts'
import { KernelModel } from './kernel-model.ts'
import { type Said, Socket } from './network-model.ts'
import { Random } from './random.ts'
import { LinkHost } from './server-host.ts'
import { Timeline } from './timeline.ts'
import { Traffic } from './traffic.ts'
import { DatabaseModel } from './database-model.ts'
import { Customers } from './customers.ts'

const CHAOS_MS = 150_000
const TICK_MS = 500
/**
 * From the last trouble to rest. An agent that starts anew (at most 15 s into the calm) after its clock was set back knows no
 * handshake's age: endpoints are then forgotten 180 to 195 s after that start.
 */
const REST_MS = 215_000
/** So long before rest nobody sends any more. */
const QUIET_MS = 65_000
const MUCH = 2n ** 60n

/** What goes wrong in a schedule; all drawn from its seed. */
interface Weather {
  writeFault: number
  death: number
  readFault: number
  hostile: boolean
  clockSteps: boolean
  /** Mean ms between cuts, partitions, crashes, reboots. */
  troubleEvery: number
}

interface Linked {
  link: number
  socket: Socket
  host: LinkHost
}

/** One seeded schedule: a node, its kernel and disk, server instances on one database, and bad luck. */
export class Simulation {
  readonly timeline = new Timeline()
  readonly random: Random
  readonly kernel = new KernelModel()
  readonly database: DatabaseModel
  readonly violations: string[] = []
  readonly agent: AgentHost
  readonly #weather: Weather
  readonly #watchdog: Watchdog
  readonly #traffic: Traffic
  readonly #customers: Customers
  #links: Linked[] = []
  #reachable = true
  #chaos = true
  #wallOffset = 0
  #wiped = false
  #linkSteps = 0
  readonly #said: Said = { toAgent: [], toServer: [] }

  constructor(seed: number) {
    const random = new Random(seed)
    this.random = random
    this.database = new DatabaseModel(random.pick([6, 16, 60]) ?? 6)
    this.#weather = {
      writeFault: random.pick([0, 0, 0.05]) ?? 0,
      death: random.pick([0, 0, 0.01]) ?? 0,
      readFault: random.pick([0, 0.1]) ?? 0,
      hostile: random.chance(0.3),
      clockSteps: random.chance(0.3),
      troubleEvery: random.pick([5000, 15_000, 60_000]) ?? 15_000,
    }
    const complain = (text: string) => this.violations.push(`${this.timeline.now} ms: ${text}`)
    this.#watchdog = new Watchdog(this.kernel, this.database, complain)
    this.#traffic = new Traffic(this.kernel, this.database, random)
    this.#customers = new Customers(this.timeline, this.database, random, () => this.#wake())
    this.agent = new AgentHost(this.#surroundings(complain))
  }

  /** Runs the schedule to its rest. @returns what was broken; empty when all held */
  run(): string[] {
    this.agent.start()
    this.#everyTick()
    this.#plan()
    this.timeline.runUntil(CHAOS_MS)
    this.#calm()
    this.timeline.runUntil(CHAOS_MS + REST_MS - QUIET_MS)
    this.#traffic.stop()
    this.timeline.runUntil(CHAOS_MS + REST_MS)
    this.violations.push(...checkAtRest(this.kernel, this.database, this.timeline.now, 'at rest'))
    this.#customers.removeAll()
    this.timeline.runUntil(this.timeline.now + 90_000)
    this.violations.push(...checkAtRest(this.kernel, this.database, this.timeline.now, 'after all left'))
    return this.violations
  }

  /** Steps both reducers took. */
  get steps(): number {
    return this.agent.steps + this.#linkSteps
  }

  #surroundings(complain: (text: string) => void): Surroundings {
    return {
      timeline: this.timeline,
      random: this.random,
      kernel: this.kernel,
      dial: (link) => this.#connect(link, complain),
      toServer: (link, message) => {
        if (message.type === 'applied') this.#watchdog.agentSays(message, this.agent.state)
        this.#links.find((linked) => linked.link === link)?.socket.toServer(message)
      },
      hangUp: (link) => {
        const linked = this.#links.find((one) => one.link === link)
        linked?.socket.cut({ agent: 0, server: this.random.int(0, 3000) })
      },
      beforeWrite: (op) => this.#watchdog.beforeWrite(op, this.#weather.clockSteps, this.timeline.now),
      outcomeLost: (peer) => this.#loseOutcome(peer),
      complain: this.#weather.writeFault > 0 ? () => {} : complain,
      faults: () =>
        this.#chaos ? { write: this.#weather.writeFault, death: this.#weather.death } : { write: 0, death: 0 },
      wallOffset: () => this.#wallOffset,
    }
  }

  #connect(link: number, complain: (text: string) => void): void {
    if (!this.#reachable) return this.timeline.after(this.random.int(1, 500), () => this.agent.lost(link))
    const ends = {
      agent: {
        heard: (message: Parameters<AgentHost['heard']>[1]) => this.agent.heard(link, message),
        lost: () => this.agent.lost(link),
      },
      server: {
        heard: (message: Parameters<LinkHost['heard']>[0]) => linked.host.heard(message),
        lost: () => this.#drop(linked, false),
      },
    }
    const socket = new Socket(this.timeline, this.random, ends, this.#said)
    this.agent.opened(link)
    const host = new LinkHost({
      timeline: this.timeline,
      random: this.random,
      database: this.database,
      toAgent: (message) => socket.toAgent(message),
      hangUp: () => socket.cut({ agent: 5, server: 0 }),
      acknowledged: (slot, version, held) => this.#watchdog.serverHears(slot, version, held),
      complete: (revision) => this.#watchdog.serverKnows(revision),
      complain,
      watched: () => this.#customers.watched,
      readFault: () => (this.#chaos ? this.#weather.readFault : 0),
    })
    const linked: Linked = { link, socket, host }
    this.#links.push(linked)
  }

  #drop(linked: Linked, crashed: boolean): void {
    linked.host.end(crashed)
    this.#linkSteps += linked.host.steps
    this.#links = this.#links.filter((one) => one !== linked)
  }

  #wake(): void {
    // A notification may get lost; the safety read finds what it would have told.
    if (this.#chaos && this.random.chance(0.03)) return
    for (const { host } of this.#links) this.timeline.after(this.random.int(0, 20), () => host.step({ type: 'woken' }))
  }

  #everyTick(): void {
    this.#traffic.flow(this.timeline.now, this.#wallOffset)
    if (this.#chaos) this.#customers.act()
    if (this.#chaos && this.#weather.hostile && this.random.chance(0.3)) this.#interfere()
    this.timeline.after(TICK_MS, () => this.#everyTick())
  }

  /** A hostile transport repeats what was said, or swallows a message. */
  #interfere(): void {
    for (const { socket } of this.#links) {
      if (this.random.chance(0.1)) socket.loseOne()
      else socket.repeat()
    }
  }

  #plan(): void {
    this.timeline.after(this.random.int(1, 2 * this.#weather.troubleEvery), () => {
      if (!this.#chaos) return
      this.#trouble()
      this.#plan()
    })
  }

  #trouble(): void {
    const { random } = this
    const kind = random.int(0, 11)
    if (kind <= 2) this.#cutAll(false)
    else if (kind === 3) this.#partition()
    else if (kind === 4) this.#restart(() => {})
    else if (kind === 5 && random.chance(0.4)) this.#reboot()
    else if (kind === 6 && random.chance(0.4)) this.#recreate()
    else if (kind === 7) this.#cutAll(true)
    else if (kind === 8) this.#meddle()
    else if (kind === 9 && !this.#weather.hostile && random.chance(0.3)) this.#restart(() => this.#wipe())
    else if (this.#weather.clockSteps) this.#wallOffset += random.int(-3_600_000, 3_600_000)
  }

  #cutAll(crashed: boolean): void {
    const delay = () => this.random.pick([0, 50, 4000]) ?? 0
    for (const linked of this.#links.slice()) {
      if (crashed) this.#drop(linked, true)
      linked.socket.cut({ agent: delay(), server: delay() })
    }
  }

  #partition(): void {
    this.#reachable = false
    this.#cutAll(false)
    this.timeline.after(this.random.int(1000, 40_000), () => {
      this.#reachable = true
    })
  }

  #restart(meanwhile: () => void): void {
    this.agent.kill()
    meanwhile()
    this.timeline.after(this.random.int(50, 15_000), () => this.#start())
  }

  #start(): void {
    if (!this.agent.running) this.agent.start()
  }

  #reboot(): void {
    this.#restart(() => {
      this.#recreate()
    })
  }

  /** The interface is made anew; what it counted since the last report may be lost. */
  #recreate(): void {
    for (const { slot } of this.kernel.peers.values()) this.database.lose(slot)
    this.kernel.recreate()
  }

  /** Somebody removes one peer by hand and adds another. */
  #meddle(): void {
    const peer = this.random.pick([...this.kernel.peers.values()])
    if (peer) {
      this.database.lose(peer.slot, peer)
      this.#watchdog.meddled.add(peer.slot)
      this.kernel.peers.delete(peer.public_key)
    }
    const public_key = this.random.key()
    const stranger = { public_key, preshared_key: public_key, allowed_ips: ['10.9.9.9/32'], rx: 5n, tx: 5n }
    this.kernel.peers.set(public_key, { ...stranger, handshake_at: 0, slot: -1, version: 0, shookAt: null })
  }

  /** The data folder is lost: what its peers carry until they are taken over or purged is not counted. */
  #wipe(): void {
    for (const { slot } of this.database.connections) this.database.lose(slot, { rx: MUCH, tx: MUCH })
    this.#wiped = true
    this.agent.wipeDisk()
  }

  #loseOutcome({ slot, rx, tx, reset, writtenFor }: Touched): void {
    // Whether a reset was done shows, unless more came since than before: then what came before is left out.
    this.database.lose(slot, reset ? { rx, tx } : undefined)
    // Whether a stranger was written afresh does not show: then it is taken over as it is found.
    if (this.#wiped) this.database.lose(writtenFor, { rx: MUCH, tx: MUCH })
  }

  #calm(): void {
    this.#chaos = false
    this.#reachable = true
    this.#start()
  }
}
