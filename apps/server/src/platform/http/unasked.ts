import { z } from 'zod'
import { NotFound } from '../errors.ts'
import type { App } from './app-type.ts'

const DAY_CACHE = 'public, max-age=86400'
const NO_CRAWLERS = 'User-agent: *\nDisallow: /\n'

/** Safari, and others for a bookmark, try these by size, and with the shine already on them. */
const TOUCH_ICONS = ['', '-120x120', '-152x152'].flatMap((size) => [
  `/apple-touch-icon${size}.png`,
  `/apple-touch-icon${size}-precomposed.png`,
])

/** Where there is nothing, which has to be said as 404: another answer would be taken for the thing. */
const ABSENT = [
  // Chrome's developer tools, on each page that is opened with them.
  '/.well-known/appspecific/com.chrome.devtools.json',
  // Password managers; the second tells them whether a 200 here means anything (W3C, Change Password URL).
  '/.well-known/change-password',
  '/.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200',
  '/.well-known/passkey-endpoints',
  // Before a page is fetched ahead through a proxy of the browser's maker.
  '/.well-known/traffic-advice',
]

/**
 * What browsers and crawlers ask for by themselves. Were it an unknown path, opening our pages often enough would look
 * like someone who is looking for holes.
 */
export function unaskedRoutes(app: App): void {
  const options = {
    config: { needs: 'public', rule: 'STATIC' },
    schema: { hide: true, querystring: z.object({}) },
  } as const
  for (const icon of ['/favicon.ico', ...TOUCH_ICONS])
    app.get(icon, options, async (_req, reply) => reply.header('cache-control', DAY_CACHE).code(204).send())
  app.get('/robots.txt', options, async (_req, reply) =>
    reply.header('cache-control', DAY_CACHE).type('text/plain; charset=utf-8').send(NO_CRAWLERS),
  )
  for (const path of ABSENT)
    app.get(path, options, async () => {
      throw new NotFound('The path')
    })
}
