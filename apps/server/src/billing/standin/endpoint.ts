import { z } from 'zod'
import { f, listFields, type FormValue } from './form.ts'
import { StripeFailure } from './failure.ts'
import type { Kind, Of } from './types.ts'
import type { World } from './world.ts'

/** One call of the API: its path, the parameters it takes (no others), and what it does. */
export type Endpoint = {
  method: 'GET' | 'POST' | 'DELETE'
  path: string
  params: z.ZodType
  run(world: World, params: never, ids: string[]): unknown
}

export function endpoint<S extends z.ZodRawShape>(
  method: Endpoint['method'],
  path: string,
  shape: S,
  run: (world: World, params: z.infer<z.ZodObject<S>>, ids: string[]) => unknown,
): Endpoint {
  const params = z.strictObject({ ...shape, expand: z.array(f.text).optional() })
  return { method, path, params, run }
}

const paramOf = (path: readonly PropertyKey[]): string =>
  path.map((part, index) => (index === 0 ? String(part) : `[${String(part)}]`)).join('')

/** @throws Stripe's 400: `parameter_unknown`, `parameter_missing` or `parameter_invalid` */
export function readParams(params: z.ZodType, given: FormValue): unknown {
  const result = params.safeParse(given)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const path = issue ? paramOf(issue.path) : ''
  if (issue?.code === 'unrecognized_keys') {
    const param = paramOf([...issue.path, issue.keys[0] ?? ''])
    throw new StripeFailure(400, {
      type: 'invalid_request_error',
      code: 'parameter_unknown',
      param,
      message: `Received unknown parameter: ${param}`,
    })
  }
  if (issue?.code === 'invalid_type' && issue.input === undefined && !(path in (given as object)))
    throw new StripeFailure(400, {
      type: 'invalid_request_error',
      code: 'parameter_missing',
      param: path,
      message: `Missing required param: ${path}.`,
    })
  throw new StripeFailure(400, {
    type: 'invalid_request_error',
    code: 'parameter_invalid',
    param: path,
    message: `Invalid ${path}: ${issue?.message ?? ''}`,
  })
}

type Cursor = { limit?: number | undefined; starting_after?: string | undefined; ending_before?: string | undefined }

/** A page of a list, newest first. */
export function page<T extends { id: string }>(url: string, items: T[], { limit = 10, starting_after }: Cursor) {
  const from = starting_after === undefined ? 0 : items.findIndex(({ id }) => id === starting_after) + 1
  return { object: 'list', url, has_more: items.length > from + limit, data: items.slice(from, from + limit) }
}

/** A list call whose filters are equal to fields. */
export const listEndpoint = <K extends Kind, S extends z.ZodRawShape>(
  path: string,
  kind: K,
  shape: S,
  fits: (thing: Of<K>, params: z.infer<z.ZodObject<S>>, world: World) => boolean,
): Endpoint =>
  endpoint('GET', path, { ...listFields, ...shape }, (world, params) => {
    const { customer } = params as { customer?: string }
    if (customer !== undefined && !world.store.state.deleted[customer])
      world.store.get('customer', customer, 'customer')
    return page(
      path,
      world.store.all(kind, (thing) => fits(thing, params as z.infer<z.ZodObject<S>>, world)),
      params as Cursor,
    )
  })
