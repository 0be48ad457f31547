import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { AppError, toEnvelope } from '../errors.ts'
import { securityHeaders } from './headers.ts'
import { newRequestId } from './request-id.ts'

/** The answer under way on a socket, as Node's own handler of such errors looks at it. */
type Answering = { _httpMessage?: ServerResponse | null }

/** A request that is no HTTP: the contract's error on the raw socket, then the end. */
export function refuseRaw(error: NodeJS.ErrnoException, socket: Socket, https: boolean): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  // What follows the headers was no HTTP, and they have been answered: one request has one answer.
  if ((socket as Socket & Answering)._httpMessage?.headersSent === true) {
    socket.destroySoon()
    return
  }
  const refusal = new AppError('INVALID_INPUT', 'The request is not valid HTTP.')
  const id = newRequestId()
  const body = JSON.stringify(toEnvelope(refusal, id))
  const headers = Object.entries({ ...securityHeaders(https), 'x-request-id': id }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  )
  socket.end(
    `HTTP/1.1 400 Bad Request\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `${headers.join('')}connection: close\r\n\r\n${body}`,
  )
  // Told and gone: a client that goes on sending must not hold the socket.
  socket.destroySoon()
}
