import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { EnrollAnswer, type EnrollRequest } from '@prime-vpn/node-protocol'
import { z } from 'zod'
import { addressOf, lookupFor } from './control-url.ts'
import { codeOf } from './data-dir.ts'
import { Failure, Refused, Unreachable, oneLine } from './failures.ts'

const TIMEOUT_MS = 20_000
const MAX_ANSWER = 256 * 1024
/** Pauses between tries, in milliseconds; the keys are the same each time, so a lost answer costs nothing. */
const PAUSES = [500, 1_500, 4_000, 10_000]

const ErrorBody = z.object({ error: z.object({ code: z.string(), message: z.string() }) })

type Reply = { status: number; body: string }
export type EnrolDeps = { sleep?: (ms: number) => Promise<unknown>; onRetry?: (why: string) => void }

/**
 * Registers this node: `POST /node/enroll`. Follows no redirect. Tries again while the control plane cannot be reached
 * or is busy.
 * @throws {Refused} token used, expired, revoked or unknown, or the wish does not fit the server's record
 * @throws {Unreachable} no answer after the last try, or one that makes no sense
 */
export async function enrol(controlUrl: string, wish: EnrollRequest, deps: EnrolDeps = {}): Promise<EnrollAnswer> {
  const url = addressOf(controlUrl, '/node/enroll')
  for (const pause of [...PAUSES, null]) {
    try {
      return read(await post(url, JSON.stringify(wish)))
    } catch (error) {
      if (!(error instanceof Unreachable) || pause === null) throw error
      deps.onRetry?.(error.message)
      await (deps.sleep ?? sleep)(pause)
    }
  }
  throw new Unreachable('the control plane does not answer')
}

function read(reply: Reply): EnrollAnswer {
  if (reply.status >= 300 && reply.status < 400)
    throw new Failure(1, 'the control plane answered with a redirect, which is not followed: give its final URL')
  const body = parse(reply.body)
  if (reply.status === 429 || reply.status >= 500)
    throw new Unreachable(`the control plane is busy or broken (${reply.status})`)
  if (reply.status >= 400) throw new Refused(refusal(reply.status, body))
  const answer = EnrollAnswer.safeParse(body)
  if (!answer.success) throw new Failure(1, 'the answer is not that of a control plane of this version')
  return answer.data
}

function refusal(status: number, body: unknown): string {
  const envelope = ErrorBody.safeParse(body)
  if (!envelope.success) return `refused (${status}): there may be no control plane at this URL`
  return `refused: ${oneLine(envelope.data.error.message)} (${oneLine(envelope.data.error.code, 40)})`
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function post(url: URL, body: string): Promise<Reply> {
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest
  return new Promise<Reply>((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json',
      'content-length': Buffer.byteLength(body),
    }
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    const req = send(url, { method: 'POST', headers, lookup: lookupFor(url), signal, agent: false }, (res) => {
      collect(res).then((text) => resolve({ status: res.statusCode ?? 0, body: text }), reject)
    })
    req.on('error', reject)
    req.end(body)
  }).catch((error: unknown) => {
    if (error instanceof Failure) throw error
    throw new Unreachable(`the control plane cannot be reached (${codeOf(error)})`, error)
  })
}

async function collect(res: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of res as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_ANSWER) {
      res.destroy()
      throw new Failure(1, 'the answer is too long for a control plane')
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
