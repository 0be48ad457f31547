import type { Db } from '../platform/db/index.ts'
import { one } from '../platform/db/index.ts'

export type ClaimWish = {
  connectionId: string
  userId: string
  deviceId: string | null
  /** Null: the device's stored key. */
  publicKey: string | null
  /** The key was made here just now, so nobody can have used it. */
  generated: boolean
  sealedPsk: Buffer
  candidates: readonly string[]
  restSeconds: number
  overlapMs: number
}

/** A tunnel that is committed, or one that was there and is kept. */
export type Claim = {
  outcome: 'connected' | 'kept'
  connection: string
  slot: number
  version: number
  address: string
  address6: string
  public_key: string
  preshared_key: Buffer
  started_at: Date
  expires_at: Date | null
  device: string | null
  /** A kept tunnel that had been moved away from. */
  revived: boolean
  /** Tunnels this one takes the place of. */
  replaced: string[]
  /** Key or tunnel is of another call that may still take it back: `tellClaim` says when this one may be answered. */
  untold: boolean
  server: string
  hostname: string
  location: string
  ip_address: string
  endpoint: string
  server_key: string
}

export type Refused = { outcome: 'inactive' | 'device_gone' | 'limit' | 'no_key' | 'wrong_key' | 'full' | 'key_in_use' }

type Row = { outcome: Refused['outcome'] } | (Omit<Claim, 'version'> & { version: bigint })

/** The whole connect in one round trip; what it checks and in which order stands in the migration. */
export async function claimTunnel(db: Db, wish: ClaimWish): Promise<Claim | Refused> {
  const row = await one(db<Row[]>`
    select outcome, connection, slot, version, host(address) as address, host(address6) as address6, public_key,
           preshared_key, started_at, expires_at, device, revived, replaced, untold, server, hostname, location,
           host(ip_address) as ip_address, endpoint, server_key
      from connect_tunnel(${wish.connectionId}, ${wish.userId}, ${wish.deviceId}, ${wish.publicKey}, ${wish.generated},
                          ${wish.sealedPsk}, ${[...wish.candidates]}::uuid[],
                          make_interval(secs => ${wish.restSeconds}), make_interval(secs => ${wish.overlapMs / 1000}))`)
  return 'version' in row && (row.outcome === 'connected' || row.outcome === 'kept')
    ? { ...row, version: Number(row.version) }
    : { outcome: row.outcome as Refused['outcome'] }
}

/**
 * Takes back a claim that nobody was told of, or only the move to a kept tunnel.
 * @returns false when there is nothing to take back: it is gone, or another connect has answered with it
 */
export async function cancelClaim(
  db: Db,
  claim: { connectionId: string; userId: string; kept: boolean; overlapMs: number },
): Promise<boolean> {
  const { undone } = await one(db<{ undone: boolean }[]>`
    select cancel_connect(${claim.connectionId}, ${claim.userId}, ${claim.kept},
                          make_interval(secs => ${claim.overlapMs / 1000})) as undone`)
  return undone
}

/**
 * The tunnel is live: from here on no other call takes its key or itself back.
 * @returns 'told', or what became of it before
 */
export async function tellClaim(
  db: Db,
  userId: string,
  { connection, device, public_key, outcome }: Claim,
): Promise<'told' | 'gone' | 'key_changed' | 'device_gone'> {
  const { told } = await one(db<{ told: 'told' | 'gone' | 'key_changed' | 'device_gone' }[]>`
    select tell_connect(${connection}, ${userId}, ${device}, ${public_key}, ${outcome === 'kept'}) as told`)
  return told
}
