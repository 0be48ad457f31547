import { domainToASCII, domainToUnicode } from 'node:url'

/** RFC 5321, 4.5.3.1: octets of a path without its brackets, and of its local part. */
const MAX_ADDRESS = 254
const MAX_LOCAL = 64

/** A dot-atom of RFC 5322: no quotes, comments, folds or commas, which mail programs read differently. */
const LOCAL = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/
const LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/
const ASCII = /^[\x21-\x7e]*$/

/** An internationalised domain in ASCII; one that only looks like what it would become (full width, soft hyphens) is none. */
function asciiDomain(domain: string): string | null {
  if (ASCII.test(domain)) return domain
  const ascii = domainToASCII(domain)
  return ascii && domainToUnicode(ascii) === domain.toLowerCase() ? ascii : null
}

function isDomain(domain: string): boolean {
  const labels = domain.split('.')
  const last = labels.at(-1) ?? ''
  return (
    labels.length >= 2 && labels.every((label) => LABEL.test(label)) && /^(?:[a-z]{2,63}|xn--[a-z0-9-]+)$/i.test(last)
  )
}

/**
 * The address trimmed, its domain in ASCII; null when it is none we write to. Local parts are ASCII.
 * @param localhost also `name@localhost`, as the first admin of a trial has it
 */
export function parseEmail(text: string, { localhost = false } = {}): string | null {
  if (text.length > 2 * MAX_ADDRESS) return null
  const trimmed = text.trim()
  const at = trimmed.lastIndexOf('@')
  const local = trimmed.slice(0, Math.max(at, 0))
  const domain = asciiDomain(trimmed.slice(at + 1))
  if (domain === null || local.length > MAX_LOCAL || !LOCAL.test(local)) return null
  const address = `${local}@${domain}`
  if (address.length > MAX_ADDRESS) return null
  return isDomain(domain) || (localhost && domain.toLowerCase() === 'localhost') ? address : null
}

/** The text by which two spellings are one account. */
export const emailKey = (email: string): string => email.toLowerCase()
