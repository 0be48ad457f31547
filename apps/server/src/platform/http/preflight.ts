import type { IncomingMessage } from 'node:http'

/** True for a browser's question whether a page of another origin may call (Fetch standard, CORS-preflight fetch). */
export const isPreflight = ({ method, headers }: IncomingMessage): boolean =>
  method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined
