import { z } from 'zod'

/** A form's fields as nested objects and lists: `items[0][price]=x` is `{items: [{price: 'x'}]}`. Values stay text. */
export type FormValue = string | FormValue[] | { [key: string]: FormValue }
type FormObject = { [key: string]: FormValue }

const PART = /^([^[\]]+)((?:\[[^[\]]*\])*)$/

function place(into: FormObject, path: string[], value: string): void {
  const [head = '', ...rest] = path
  if (rest.length === 0) {
    into[head] = value
    return
  }
  const held = Object.hasOwn(into, head) ? into[head] : undefined
  const next: FormObject = typeof held === 'object' && !Array.isArray(held) ? held : Object.create(null)
  into[head] = next
  place(next, rest, value)
}

/** Objects whose keys are 0, 1, 2 ... are lists. */
function listed(value: FormValue): FormValue {
  if (typeof value === 'string' || Array.isArray(value)) return value
  const entries = Object.entries(value).map(([key, item]) => [key, listed(item)] as const)
  const isList = entries.length > 0 && entries.every(([key], index) => key === String(index))
  return isList ? entries.map(([, item]) => item) : Object.fromEntries(entries)
}

/** Reads `application/x-www-form-urlencoded` as Stripe's API takes it. */
export function parseForm(text: string): FormObject {
  const root: FormObject = Object.create(null)
  const counts = new Map<string, number>()
  for (const [name, value] of new URLSearchParams(text)) {
    const match = PART.exec(name)
    const head = match?.[1] ?? name
    const path = [head]
    for (const [, key = ''] of (match?.[2] ?? '').matchAll(/\[([^[\]]*)\]/g)) {
      if (key !== '') {
        path.push(key)
        continue
      }
      const place = path.join('.')
      const index = counts.get(place) ?? 0
      counts.set(place, index + 1)
      path.push(String(index))
    }
    place(root, path, value)
  }
  return Object.fromEntries(Object.entries(root).map(([key, value]) => [key, listed(value)]))
}

/** The field types of forms: text that must read as what it is. */
export const f = {
  text: z.string().min(1).max(5_000),
  bool: z.enum(['true', 'false']).transform((text) => text === 'true'),
  int: z
    .string()
    .regex(/^-?\d{1,15}$/, 'Invalid integer')
    .transform(Number),
  currency: z
    .string()
    .regex(/^[A-Za-z]{3}$/, 'Invalid currency')
    .transform((text) => text.toLowerCase()),
  url: z
    .string()
    .regex(/^https?:\/\//, 'Not a valid URL')
    .max(5_000),
  metadata: z.record(z.string().max(40), z.string().max(500)),
  limit: z.string().regex(/^\d+$/).transform(Number).pipe(z.number().min(1).max(100)),
}

/** Cursors of every list. */
export const listFields = {
  limit: f.limit.optional(),
  starting_after: f.text.optional(),
  ending_before: f.text.optional(),
}
