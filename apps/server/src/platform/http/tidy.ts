import type { z } from 'zod'

type Override = NonNullable<NonNullable<Parameters<typeof z.toJSONSchema>[1]>['override']>

/** What a reader of the document need not see: the bounds of every safe integer, the long pattern of a UUID. */
export const tidy: Override = ({ zodSchema, jsonSchema }) => {
  const type = zodSchema._zod.def.type
  if (type === 'date') Object.assign(jsonSchema, { type: 'string', format: 'date-time' })
  if (type === 'bigint') Object.assign(jsonSchema, { type: 'integer', format: 'int64' })
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
  if (jsonSchema.format === 'uuid' || jsonSchema.format === 'email') delete jsonSchema.pattern
}
