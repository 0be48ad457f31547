import swagger from '@fastify/swagger'
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { API_VERSION, ErrorBody, type App } from '../http/index.ts'
import { tidy } from '../http/tidy.ts'

type Json = { [key: string]: unknown }

const DESCRIPTION = `The back end of a VPN service: accounts, servers, tunnels, live counters.

Every path below also answers without the prefix \`/api/v1\`. Errors all have the shape \`Error\`. Times are RFC 3339 UTC,
byte counts integers. \`bytes_sent\` is what the customer's device sent, \`bytes_received\` what it received.`

const transform = createJsonSchemaTransform({ zodToJsonConfig: { override: tidy } })
const transformObject = createJsonSchemaTransformObject({ zodToJsonConfig: { override: tidy } })

/** What a caller needs, as the document shows it. */
function describeAccess(needs: string | undefined) {
  if (needs === undefined || needs === 'public') return { security: [] }
  return { security: [{ bearer: [] }], 'x-permission': needs }
}

/** Statuses any call may answer with our error body. */
function withErrors(response: unknown, isPublic: boolean): Record<string, unknown> {
  const errors = isPublic ? ['400', '429', '500', '503'] : ['400', '401', '403', '429', '500', '503']
  const shared = Object.fromEntries(errors.map((status) => [status, ErrorBody]))
  return { ...shared, ...(response as Record<string, unknown> | undefined) }
}

/** How the document's readers list the groups; others follow by name. */
const GROUPS = [
  'Auth',
  'Users',
  'Devices',
  'Servers',
  'Connections',
  'Analytics',
  'Subscriptions',
  'Payments',
  'Billing',
  'Nodes',
]

const IdempotencyHeader = z.object({
  'Idempotency-Key': z
    .string()
    .min(16)
    .max(255)
    .optional()
    .meta({ description: 'A repeat with this key within 24 h answers the first response and makes no second effect.' }),
})

const titled = (tag: string): string => `${tag.slice(0, 1).toUpperCase()}${tag.slice(1)}`

function groupsOf(paths: Json): { name: string }[] {
  const operations = Object.values(paths).flatMap((path) => Object.values(path as Record<string, { tags?: string[] }>))
  const names = [...new Set(operations.flatMap((operation) => operation.tags ?? []))]
  const place = (name: string): number => (GROUPS.includes(name) ? GROUPS.indexOf(name) : GROUPS.length)
  return names.toSorted((a, b) => place(a) - place(b) || a.localeCompare(b)).map((name) => ({ name }))
}

/** Collects the routes into an OpenAPI 3.1 document. Register before any route. */
export async function useOpenapi(app: App, appName: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: `${appName} API`,
        version: API_VERSION,
        description: DESCRIPTION,
        license: { name: 'MIT', identifier: 'MIT' },
      },
      servers: [{ url: '/' }],
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } } },
    },
    transform: (document) => {
      const { schema, route } = document
      const needs = route.config?.needs
      if (!schema || schema.hide || !route.url.startsWith('/api/v1/'))
        return transform({ ...document, schema: { ...schema, hide: true } })
      const { response, querystring, tags, ...rest } = schema as Record<string, unknown> & { tags?: string[] }
      const shown = {
        ...rest,
        tags: (tags ?? []).map(titled),
        ...(route.config?.idempotent ? { headers: IdempotencyHeader } : {}),
        ...(emptyObject(querystring) ? {} : { querystring }),
        ...describeAccess(needs),
        response: withErrors(response, needs === 'public'),
      }
      return transform({ ...document, schema: shown })
    },
    transformObject: (document) => transformObject(document),
  })
}

/** True for the "no query at all" schema that the HTTP kit gives to routes without one. */
const emptyObject = (schema: unknown): boolean =>
  Object.keys((schema as { shape?: object } | undefined)?.shape ?? {}).length === 0

/** The document with keys in a stable order, so that a diff shows what changed and nothing else. */
export function openapiDocument(app: App): Json {
  const document = app.swagger() as unknown as Json & { components: { schemas?: Json }; paths: Json }
  const schemas = document.components.schemas ?? {}
  const text = JSON.stringify(document)
  // Components are generated once for input and once for output; the one nobody refers to is noise.
  const used = Object.keys(schemas).filter((name) => text.includes(`"#/components/schemas/${name}"`))
  const sorted = (from: Json, names = Object.keys(from)): Json =>
    Object.fromEntries(names.toSorted().map((name) => [name, from[name]]))
  return {
    ...document,
    tags: groupsOf(document.paths),
    paths: sorted(document.paths),
    components: { ...document.components, schemas: sorted(schemas, used) },
  }
}
