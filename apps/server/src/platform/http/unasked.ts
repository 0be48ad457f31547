import { z } from 'zod'
import type { App } from './app-type.ts'

const DAY_CACHE = 'public, max-age=86400'
const NO_CRAWLERS = 'User-agent: *\nDisallow: /\n'

/**
 * What browsers and crawlers ask for by themselves. Were it an unknown path, opening our pages often enough would look
 * like someone who is looking for holes.
 */
export function unaskedRoutes(app: App): void {
  const options = {
    config: { needs: 'public', rule: 'STATIC' },
    schema: { hide: true, querystring: z.object({}) },
  } as const
  app.get('/favicon.ico', options, async (_req, reply) => reply.header('cache-control', DAY_CACHE).code(204).send())
  app.get('/robots.txt', options, async (_req, reply) =>
    reply.header('cache-control', DAY_CACHE).type('text/plain; charset=utf-8').send(NO_CRAWLERS),
  )
}
