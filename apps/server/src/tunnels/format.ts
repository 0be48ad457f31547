/** `1.2 MB/s`: 10^6 bytes, one decimal (api.md, section 1). */
export const speedText = (bytesPerSecond: number): string => `${(bytesPerSecond / 1e6).toFixed(1)} MB/s`

/** Bytes in so many seconds, as text. Below a second counts as one: there is no speed in no time. */
export const averageSpeed = (bytes: bigint, seconds: number): string => speedText(Number(bytes) / Math.max(1, seconds))

/** `1h 4m 9s`, without leading parts that are zero. */
export function durationText(seconds: number): string {
  const hours = Math.floor(seconds / 3600)
  const minutes = Math.floor(seconds / 60) % 60
  const parts = [`${seconds % 60}s`]
  if (hours > 0 || minutes > 0) parts.unshift(`${minutes}m`)
  if (hours > 0) parts.unshift(`${hours}h`)
  return parts.join(' ')
}
