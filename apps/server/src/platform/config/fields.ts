import { isIP } from 'node:net'
import { z } from 'zod'

/** `True/False/1/0/yes/no/on/off`, as older set-ups spell it. */
export const flag = z
  .string()
  .transform((text) => text.toLowerCase())
  .pipe(z.enum(['true', 'false', '1', '0', 'yes', 'no', 'on', 'off'], { error: 'must be true or false' }))
  .transform((text) => ['true', '1', 'yes', 'on'].includes(text))

/** A whole number within bounds. */
export const whole = (min: number, max: number) =>
  z
    .string()
    .regex(/^-?\d+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`))

/** A list as JSON (`["a","b"]`) or separated by commas. */
export const list = z.string().transform((text, context): string[] => {
  if (!text.trimStart().startsWith('['))
    return text
      .split(',')
      .map((item) => item.trim())
      .filter(Boolean)
  try {
    return z.array(z.string()).parse(JSON.parse(text))
  } catch {
    context.addIssue({ code: 'custom', message: 'must be a JSON list of texts or a comma-separated list' })
    return z.NEVER
  }
})

export const addresses = list.refine((items) => items.every((item) => isIP(item) !== 0), 'must be IP addresses')

/** An http(s) address without path, query or user: what links are made from. */
export const origin = z.string().transform((text, context): string => {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url && /^https?:$/.test(url.protocol) && !url.username && url.pathname === '/' && !url.search && !url.hash)
    return url.origin
  context.addIssue({ code: 'custom', message: 'must be an address such as https://vpn.example.com' })
  return z.NEVER
})

/** A PostgreSQL address; the spelling of Python set-ups (`postgresql+asyncpg://`) is understood. */
export const postgresUrl = z
  .string()
  .transform((text) => text.replace(/^postgresql(\+\w+)?:/, 'postgres:'))
  .refine(
    (text) => text.startsWith('postgres://') && URL.canParse(text),
    'must be postgres://user:password@host:5432/database',
  )

export const redisUrl = z
  .string()
  .refine((text) => /^rediss?:\/\//.test(text) && URL.canParse(text), 'must be redis://host:6379')
