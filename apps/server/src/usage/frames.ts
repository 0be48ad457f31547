import { toMbps, type Watched } from './live.ts'

/** `1.2 MB/s`: 10^6 bytes, one decimal. */
export const speedText = (bytesPerSecond: number): string => `${(bytesPerSecond / 1_000_000).toFixed(1)} MB/s`

/** The part of a tunnel's metrics that stays the same while nothing moves, written once for many seconds. */
export class MetricsText {
  readonly #head: string
  #tail = ''
  #key = ''

  constructor(connectionId: string) {
    this.#head = `","connection_id":"${connectionId}","bytes_sent":`
  }

  /**
   * The text of a `metrics` message.
   * @param timestamp RFC 3339, written once for all sockets of a moment
   * @param now monotonic ms
   * @param load per cent of the server's room in use, null = unknown
   */
  at(timestamp: string, watched: Watched, now: number, load: number | null): string {
    const moving = now < watched.speedUntil
    const key = `${watched.changes} ${moving} ${load}`
    if (key !== this.#key) {
      this.#key = key
      this.#tail = tailOf(watched, moving, load)
    }
    return `{"type":"metrics","timestamp":"${timestamp}${this.#head}${this.#tail}`
  }
}

function tailOf({ account, up, down }: Watched, moving: boolean, load: number | null): string {
  const [upload, download] = moving ? [up, down] : [0, 0]
  const bytes = `"bytes_sent":${account.rx},"bytes_received":${account.tx}`
  return (
    `${account.rx},"bytes_received":${account.tx}` +
    `,"upload_speed_mbps":${toMbps(upload)},"download_speed_mbps":${toMbps(download)}` +
    `,"ping_ms":null,"server_load_pct":${load}` +
    `,"data":{${bytes},"current_speed":"${speedText(upload + download)}","latency":null}}`
  )
}

export type TunnelStatus = 'connected' | 'disconnected' | 'moved'

export const statusText = (
  timestamp: string,
  connectionId: string | null,
  status: TunnelStatus,
  reason: string | null,
): string => JSON.stringify({ type: 'connection_status', timestamp, connection_id: connectionId, status, reason })
