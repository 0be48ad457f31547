import { z } from 'zod'
import { Id, PageQuery, plainText, Time } from '../platform/http/index.ts'
import { Endpoint, Hostname, IpAddress, SubnetV4, SubnetV6, Tier, Words } from './fields.ts'

const Bandwidth = z.object({ download: z.int().nullable(), upload: z.int().nullable() }).meta({ description: 'Mbit/s' })

const serverFields = {
  id: Id,
  hostname: z.string(),
  country: z.string(),
  country_code: z.string(),
  city: z.string(),
  location: z.string(),
  latitude: z.number().nullable(),
  longitude: z.number().nullable(),
  ip_address: z.string(),
  endpoint: z.string(),
  public_key: z.string().nullable(),
  protocols: z.array(z.string()),
  status: z.enum(['operational', 'maintenance', 'offline']),
  tier: Tier,
  premium: z.boolean(),
  load: z.number().meta({ description: 'percent of the allowed tunnels, 0 to 100' }),
  ping: z.number().nullable().meta({ description: 'ms, null = unknown' }),
  bandwidth: Bandwidth,
  streaming_services: z.array(z.string()),
  features: z.array(z.string()),
}

/** A server as customers see it. */
export const ServerView = z.object(serverFields).meta({ id: 'Server' })
export type ServerView = z.infer<typeof ServerView>

export const ServerList = z.object({
  servers: z.array(ServerView),
  total: z.int(),
  page: z.int(),
  per_page: z.int(),
  links: z.object({ self: z.string(), next: z.string().nullable(), prev: z.string().nullable() }),
})

const Score = z.object({
  load: z.number(),
  ping: z.number().nullable(),
  distance: z.number().nullable().meta({ description: 'km, null = unknown' }),
  total: z.number().meta({ description: 'larger is better' }),
})
export const Recommended = z.object({ servers: z.array(z.object({ ...serverFields, score: Score })) })
export type Recommended = z.infer<typeof Recommended>

const NodeView = z.object({
  id: Id,
  linked: z.boolean(),
  agent_version: z.string(),
  backend: z.enum(['kernel', 'userspace']),
  enrolled_at: Time,
  linked_at: Time.nullable(),
  last_seen_at: Time.nullable(),
  load1: z.number().nullable(),
  cores: z.int().nullable(),
  conntrack: z.number().nullable(),
  warnings: z.array(z.string()),
})

/** A server as staff see it. */
export const AdminServer = z
  .object({
    ...serverFields,
    max_connections: z.int(),
    tunnels: z.int(),
    room: z.int(),
    draining: z.boolean(),
    enrolled: z.boolean(),
    node: NodeView.nullable(),
    subnet_v4: z.string(),
    subnet_v6: z.string(),
    created_at: Time,
    updated_at: Time,
  })
  .meta({ id: 'AdminServer' })
export type AdminServer = z.infer<typeof AdminServer>

const latitude = z.number().min(-90).max(90)
const longitude = z.number().min(-180).max(180)
const megabits = z.int().min(1).max(10_000_000)

const writable = {
  hostname: Hostname,
  country: plainText(1, 100),
  country_code: z.string().regex(/^[A-Z]{2}$/, 'must be two capital letters (ISO 3166)'),
  city: plainText(1, 100),
  location: plainText(1, 100),
  latitude: latitude.nullable().optional(),
  longitude: longitude.nullable().optional(),
  endpoint: Endpoint,
  ip_address: IpAddress,
  tier: Tier,
  max_connections: z.int().min(1).max(65_000).optional(),
  bandwidth: z
    .strictObject({ download: megabits.nullable().optional(), upload: megabits.nullable().optional() })
    .optional(),
  features: Words.optional(),
  streaming_services: Words.optional(),
}

const bothOrNone = (server: { latitude?: unknown; longitude?: unknown }): boolean =>
  typeof server.latitude === typeof server.longitude

/** The body of `POST /admin/servers`. */
export const NewServer = z
  .strictObject({ ...writable, subnet_v4: SubnetV4.optional(), subnet_v6: SubnetV6.optional() })
  .refine(bothOrNone, { path: ['longitude'], message: 'latitude and longitude belong together' })
export type NewServer = z.infer<typeof NewServer>

/** The body of `PUT` and `PATCH`: what is given changes. The subnets stay, since addresses follow from them. */
export const ServerChange = z
  .strictObject({
    ...writable,
    status: z.enum(['active', 'operational', 'maintenance']).meta({
      description:
        '`maintenance` takes no new tunnels until `active`; whether an active server is offline its node tells',
    }),
    draining: z.boolean(),
  })
  .partial()
  .refine(bothOrNone, { path: ['longitude'], message: 'latitude and longitude belong together' })
export type ServerChange = z.infer<typeof ServerChange>

const word = z.string().min(1).max(100)
const spelling = z
  .enum(['operational', 'active', 'maintenance', 'offline'])
  .transform((status) => (status === 'active' ? 'operational' : status))

export const SORTS = ['load', 'ping', 'hostname', 'country', 'city', 'location'] as const
export type Sort = (typeof SORTS)[number]
const sorts = SORTS.flatMap((sort) => [sort, `-${sort}`] as const)

/** The query of `GET /servers`. */
export const ServerQuery = PageQuery.extend({
  country: word.optional(),
  city: word.optional(),
  location: word.optional(),
  protocol: word.optional(),
  streaming: z
    .enum(['true', 'false'])
    .transform((text) => text === 'true')
    .optional(),
  feature: word.optional(),
  tier: Tier.optional(),
  status: spelling.optional(),
  sort: z.enum(sorts).optional(),
})
export type ServerQuery = z.infer<typeof ServerQuery>

export const RecommendedQuery = z.strictObject({ location: word.optional(), feature: word.optional() })

export const AdminServerQuery = PageQuery.extend({
  status: spelling.optional(),
  search: word.optional(),
})
export type AdminServerQuery = z.infer<typeof AdminServerQuery>
