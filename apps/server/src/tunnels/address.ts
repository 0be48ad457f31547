import { formatAddress, parseAddress } from '@prime-vpn/wireguard'

const V4_MAPPED = /^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i

/** One spelling of an address, a v4-mapped one as IPv4; null when it is none. */
function canonical(text: string): string | null {
  try {
    const { family, value } = parseAddress(text.replace(V4_MAPPED, ''))
    return formatAddress(family, value)
  } catch {
    return null
  }
}

/** True for two spellings of one address. */
export function sameAddress(a: string, b: string): boolean {
  const one = canonical(a)
  return one !== null && one === canonical(b)
}
