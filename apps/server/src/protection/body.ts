import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { normalAccount } from './keys.ts'

/** A body that was read before its request was judged; handed on to the parser afterwards. */
export type ReadBody = { bytes: Buffer; whole: boolean }

const JSON_TYPE = /^application\/json *(;|$)/i
const FORM_TYPE = /^application\/x-www-form-urlencoded *(;|$)/i

/** Fields that name an account in the bodies of sign-in and reset. */
const ACCOUNT_FIELDS = ['email', 'account_number', 'username'] as const

/** True when there is a body of a kind and size worth reading here. */
export function isReadable(req: IncomingMessage, maxBytes: number): boolean {
  const { 'content-type': type = '', 'content-length': length, 'transfer-encoding': coding } = req.headers
  if (!JSON_TYPE.test(type) && !FORM_TYPE.test(type)) return false
  if (length === undefined) return coding !== undefined
  return Number(length) <= maxBytes
}

/** Reads at most one byte more than `maxBytes`: enough to see that a body is too large. Never throws. */
export function readBody(req: IncomingMessage, maxBytes: number): Promise<ReadBody> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    let size = 0
    const finish = (whole: boolean) => {
      req.off('data', onData).off('end', onEnd).off('close', onCut).off('error', onCut)
      resolve({ bytes: Buffer.concat(chunks, size), whole })
    }
    const onEnd = () => finish(true)
    const onCut = () => finish(false)
    const onData = (chunk: Buffer) => {
      chunks.push(chunk)
      size += chunk.length
      if (size <= maxBytes) return
      req.pause()
      finish(false)
    }
    req.on('data', onData).on('end', onEnd).on('close', onCut).on('error', onCut)
  })
}

/** The body again, as the parser expects it. */
export function replay({ bytes }: ReadBody): Readable & { receivedEncodedLength: number } {
  const stream = new Readable({ read: () => undefined })
  if (bytes.length > 0) stream.push(bytes)
  stream.push(null)
  return Object.assign(stream, { receivedEncodedLength: bytes.length })
}

function fieldsOf(bytes: Buffer, type: string): Record<string, unknown> {
  const text = bytes.toString('utf8')
  if (FORM_TYPE.test(type)) return Object.fromEntries(new URLSearchParams(text))
  const value: unknown = JSON.parse(text)
  return value !== null && typeof value === 'object' ? (value as Record<string, unknown>) : {}
}

const MAX_ACCOUNT = 320

/** The accounts a body names, in one spelling each; none when it cannot be read. */
export function accountsIn({ bytes, whole }: ReadBody, type = ''): string[] {
  if (!whole) return []
  try {
    const fields = fieldsOf(bytes, type)
    return ACCOUNT_FIELDS.flatMap((field) => {
      const value = Object.hasOwn(fields, field) ? fields[field] : undefined
      return typeof value === 'string' && value !== '' && value.length <= MAX_ACCOUNT
        ? [normalAccount(field, value)]
        : []
    })
  } catch {
    return []
  }
}
