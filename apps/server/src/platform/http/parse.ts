import type { App } from './app-type.ts'
import type { FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { AppError, InvalidInput, invalidField, type Detail } from '../errors.ts'

/** Reads bytes as UTF-8 and refuses what is not; a byte-order mark stays and fails as JSON. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const MAX_DEPTH = 32

/** PostgreSQL cannot hold NUL, and a lone surrogate is no text: both are refused before any code sees them. */
function assertStorable(value: unknown, depth = 0): void {
  if (depth > MAX_DEPTH) throw new InvalidInput([], 'The JSON is nested too deeply.')
  if (typeof value === 'string') {
    if (value.includes('\0') || !value.isWellFormed())
      throw new InvalidInput([], 'The JSON holds a character that is not allowed.')
  } else if (value !== null && typeof value === 'object') {
    for (const [key, item] of Object.entries(value)) {
      assertStorable(key, depth + 1)
      assertStorable(item, depth + 1)
    }
  }
}

function parseJson(body: Buffer): unknown {
  if (body.length === 0) return undefined
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(body), (key, item: unknown) => {
      if (key === '__proto__') throw new SyntaxError('forbidden key')
      return item
    })
  } catch {
    throw new InvalidInput([], 'The body is not valid JSON.')
  }
  // No call takes it, and further on it could not be told from no body at all.
  if (value === null) throw new InvalidInput([], 'The body must not be null.')
  assertStorable(value)
  return value
}

/** JSON is the only body; everything else is 415. */
export function useJsonBodies(app: App): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    /^application\/json *(; *charset="?utf-8"? *)?$/i,
    { parseAs: 'buffer' },
    (_req, body, done) => {
      try {
        done(null, parseJson(body as Buffer))
      } catch (error) {
        done(error as Error)
      }
    },
  )
}

const FAULT = Symbol('what is wrong with a query')
type Query = Record<string, string> & { [FAULT]?: Detail }

/**
 * One name, one value: `?a=1&a=2` and values that cannot be stored are noted as a fault, which `queryFault` tells.
 * (The router calls this where an exception would end the process.)
 */
export function parseQuery(text: string): Record<string, string> {
  const found: Query = {}
  for (const [name, value] of new URLSearchParams(text)) {
    if (Object.hasOwn(found, name)) found[FAULT] = { field: name.slice(0, 100), message: 'is given more than once' }
    if (`${name}${value}`.includes('\0') || name === '__proto__') {
      found[FAULT] = { field: name.slice(0, 100), message: 'holds a character that is not allowed' }
    }
    found[name] = value
  }
  return found
}

/** 400 when the query itself is at fault. */
export function assertQuery(query: unknown): void {
  const fault = (query as Query | undefined)?.[FAULT]
  if (fault) throw new InvalidInput([fault])
}

const isJson = (type: string | undefined): boolean => type?.toLowerCase().startsWith('application/json') === true

/** A call without fields of its own knows none: JSON with some is refused. Forms and raw bodies are their routes' matter. */
export function refuseUnaskedBody({ body, headers, routeOptions }: FastifyRequest): void {
  if (routeOptions.schema?.body !== undefined || !isJson(headers['content-type'])) return
  if (body === undefined || body === null || Buffer.isBuffer(body)) return
  if (typeof body !== 'object' || Array.isArray(body)) throw new InvalidInput([], 'This call takes no body.')
  const names = Object.keys(body).slice(0, MAX_DETAILS)
  if (names.length > 0) throw new InvalidInput(names.map(unknownField))
}

/** A name may stand in the query or in the body, not in both. */
export function refuseDoubledNames(req: FastifyRequest): void {
  const { body, query } = req
  assertQuery(query)
  if (body === null || typeof body !== 'object') return
  for (const name of Object.keys(query as object)) {
    if (Object.hasOwn(body, name)) throw invalidField(name, 'is given in the query and in the body')
  }
}

const MAX_DETAILS = 20
const unknownField = (name: string): Detail => ({ field: name.slice(0, 100), message: 'is not a field of this call' })
const fieldOf = (path: readonly PropertyKey[]): string => path.map(String).join('.')

function detailsOf(error: z.ZodError): Detail[] {
  return error.issues.slice(0, MAX_DETAILS).flatMap((issue): Detail[] => {
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownField(fieldOf([...issue.path, key])))
    return [{ field: fieldOf(issue.path), message: issue.message }]
  })
}

/** Judges a part of a request by its schema. A malformed id in a path is an object that does not exist. */
export function compileValidator(schema: z.ZodType, part: string | undefined) {
  return (data: unknown): { value: unknown } | { error: AppError } => {
    const result = schema.safeParse(part === 'body' ? (data ?? {}) : data)
    if (result.success) return { value: result.data }
    if (part === 'params') return { error: new AppError('NOT_FOUND', 'The resource was not found.') }
    return { error: new InvalidInput(detailsOf(result.error)) }
  }
}
