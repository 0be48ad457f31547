import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { addressOf, lookupFor } from './control-url.ts'

const TIMEOUT_MS = 5_000

/**
 * Whole seconds by which this machine's clock is ahead of the control plane's, from the `Date` of any answer; null when
 * there is none. Half the round trip and the header's whole seconds make it good to a second or two.
 */
export function clockSkew(controlUrl: string): Promise<number | null> {
  const url = addressOf(controlUrl, '/node/enroll')
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest
  return new Promise((resolve) => {
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    const req = send(url, { method: 'HEAD', lookup: lookupFor(url), signal, agent: false }, (res) => {
      const theirs = Date.parse(res.headers.date ?? '')
      res.destroy()
      resolve(Number.isNaN(theirs) ? null : Math.round((Date.now() - theirs) / 1000))
    })
    req.on('error', () => resolve(null))
    req.end()
  })
}
