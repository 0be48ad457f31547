import { Buffer } from 'node:buffer'
import { z } from 'zod'
import { MAX_MESSAGE_BYTES, NodeMessage, ServerMessage } from './messages.ts'

/** A message, or why it is none. `unknown_type` is set when only the type is strange: a newer peer may say more. */
export type Parsed<T> = { ok: true; message: T } | { ok: false; error: string; unknown_type: boolean }

/** Reads what the control plane sent. Never throws; the error names the place, never the content. */
export function parseServerMessage(data: string | Buffer): Parsed<ServerMessage> {
  return parse(ServerMessage, serverTypes, data)
}

/** Reads what a node sent. Never throws; the error names the place, never the content. */
export function parseNodeMessage(data: string | Buffer): Parsed<NodeMessage> {
  return parse(NodeMessage, nodeTypes, data)
}

const typesOf = (union: { options: readonly { shape: { type: { value: string } } }[] }) =>
  new Set(union.options.map((option) => option.shape.type.value))
const serverTypes = typesOf(ServerMessage)
const nodeTypes = typesOf(NodeMessage)
const Typed = z.looseObject({ type: z.string() })

function parse<T>(schema: z.ZodType<T>, types: ReadonlySet<string>, data: string | Buffer): Parsed<T> {
  const bytes = typeof data === 'string' ? Buffer.byteLength(data) : data.length
  if (bytes > MAX_MESSAGE_BYTES) return refuse(`message of ${bytes} bytes`)
  let value: unknown
  try {
    value = JSON.parse(data.toString())
  } catch {
    return refuse('not JSON')
  }
  const typed = Typed.safeParse(value)
  if (!typed.success) return refuse('no type')
  if (!types.has(typed.data.type)) return refuse('unknown type', true)
  const parsed = schema.safeParse(value)
  if (parsed.success) return { ok: true, message: parsed.data }
  const issue = parsed.error.issues[0]
  return refuse(`${typed.data.type}.${issue?.path.join('.') ?? ''}: ${issue?.code ?? 'invalid'}`)
}

function refuse(error: string, unknown_type = false): { ok: false; error: string; unknown_type: boolean } {
  return { ok: false, error: error.slice(0, 200), unknown_type }
}
