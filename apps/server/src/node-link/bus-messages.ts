import { Counters } from '@prime-vpn/node-protocol'
import { z } from 'zod'

const server = z.string()
const slot = z.int().min(0)
const version = z.int().min(0)

/** What an instance asks of whichever instance holds the link of a server's node. */
export const Command = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('wake'), server }),
  z.object({
    kind: z.literal('ask'),
    server,
    from: z.string(),
    id: z.int(),
    slot,
    version,
    want: z.enum(['live', 'gone']),
    ms: z.int().min(0),
  }),
  /** Replaces what this instance watched of the server; forgotten after `ms`. */
  z.object({ kind: z.literal('watch'), server, from: z.string(), slots: z.array(slot), ms: z.int().min(0) }),
  z.object({ kind: z.literal('rotate'), server, from: z.string(), id: z.int() }),
  /** A link of the node was opened by this instance: older ones end, those who wait ask again. */
  z.object({ kind: z.literal('linked'), server, from: z.string(), link: z.string() }),
])
export type Command = z.infer<typeof Command>

/** What the holder of the link answers to one instance. */
export const Answer = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('settled'),
    id: z.int(),
    verdict: z.object({ held: z.boolean(), failed: z.boolean(), final: Counters.nullable() }),
  }),
  z.object({
    kind: z.literal('report'),
    server,
    at: z.int().nullable(),
    peers: z.array(Counters),
    final: z.boolean(),
  }),
  z.object({ kind: z.literal('rotated'), id: z.int() }),
])
export type Answer = z.infer<typeof Answer>
