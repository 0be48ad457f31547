import { z } from 'zod'
import type { Code } from '../errors.ts'

/** A point in time; a Date inside, RFC 3339 UTC on the wire. */
export const Time = z.date().meta({ description: 'RFC 3339, UTC' })

/** A 64-bit count; bigint inside, a JSON integer on the wire. */
export const Count = z.bigint().meta({ description: 'a whole number of up to 64 bits' })

/** An id we made or any other RFC 9562 UUID. */
export const Id = z.uuid()

/** Text a person wrote: trimmed by nobody, no control or line-separating characters, well-formed Unicode. */
export const plainText = (min: number, max: number) =>
  z
    .string()
    .min(min)
    .max(max)
    .regex(
      /^[^\p{Cc}\p{Cs}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]*$/u,
      'must be plain text without control characters',
    )
    .refine((text) => min === 0 || text.trim().length >= min, 'must not be blank')

export const ErrorBody = z
  .object({
    error: z.object({
      code: z.string() as unknown as z.ZodType<Code>,
      message: z.string(),
      details: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
      retry_after: z.int().optional(),
      request_id: z.string(),
    }),
  })
  .meta({ id: 'Error', description: 'Every error of this API looks like this.' })

/** `?page=1&per_page=20` of every list. */
export const PageQuery = z.strictObject({
  page: z.coerce.number().int().min(1).max(1_000_000).default(1),
  per_page: z.coerce.number().int().min(1).max(100).default(20),
})
export type Page = { page: number; per_page: number }

/** The shape of a list of `item`. */
export const listOf = <T extends z.ZodType>(item: T) =>
  z.object({
    data: z.array(item),
    meta: z.object({ total: z.int(), page: z.int(), per_page: z.int(), total_pages: z.int() }),
    links: z.object({ self: z.string(), next: z.string().nullable(), prev: z.string().nullable() }),
  })

/** The links of a page; the other query fields of the request stay. */
export function pageLinks(url: string, { page, per_page }: Page, total: number) {
  const [path = '', query = ''] = url.split('?')
  const at = (n: number): string => {
    const search = new URLSearchParams(query)
    search.set('page', String(n))
    search.set('per_page', String(per_page))
    return `${path}?${search.toString()}`
  }
  const pages = Math.max(1, Math.ceil(total / per_page))
  return {
    self: at(page),
    next: page < pages ? at(page + 1) : null,
    prev: page > 1 ? at(Math.min(page - 1, pages)) : null,
  }
}

/** A list as the contract shows it. @param url the request's own path and query, for the links */
export function listAnswer<T>(url: string, page: Page, total: number, data: T[]) {
  return {
    data,
    meta: { total, page: page.page, per_page: page.per_page, total_pages: Math.ceil(total / page.per_page) },
    links: pageLinks(url, page, total),
  }
}
