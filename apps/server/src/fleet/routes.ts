import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { NotFound } from '../platform/errors.ts'
import { ErrorBody, Id, pageLinks, type App } from '../platform/http/index.ts'
import type { Place } from './distance.ts'
import type { Fleet } from './fleet.ts'
import { Recommended, RecommendedQuery, ServerList, ServerQuery, ServerView } from './schemas.ts'

const tags = ['servers']
const config = { needs: 'servers:read' }
const refused = { 400: ErrorBody, 401: ErrorBody, 403: ErrorBody, 404: ErrorBody }

export type ServerRoutesDeps = {
  fleet: Pick<Fleet, 'catalogue' | 'byId'>
  /** The caller's plan: a free one is recommended only what it may use. */
  tierOf: (req: FastifyRequest) => Promise<'free' | 'premium'>
  /** Where the caller is, when the installation knows countries' places. Nothing of it is stored. */
  placeOf?: (req: FastifyRequest) => Place | undefined
}

/** The fleet for customers, answered from memory. */
export function serverRoutes(app: App, { fleet, tierOf, placeOf }: ServerRoutesDeps): void {
  for (const url of ['/api/v1/servers', '/api/v1/vpn/servers']) {
    app.get(
      url,
      {
        config,
        schema: {
          tags,
          summary: 'Servers that pass every given filter',
          querystring: ServerQuery,
          response: { 200: ServerList, ...refused },
        },
      },
      async (req) => {
        const { page, per_page } = req.query
        const { servers, total } = fleet.catalogue.list(req.query)
        return { servers, total, page, per_page, links: pageLinks(req.url, req.query, total) }
      },
    )
  }

  app.get(
    '/api/v1/servers/recommended',
    {
      config,
      schema: {
        tags,
        summary: 'The best servers that take a tunnel now, best first',
        querystring: RecommendedQuery,
        response: { 200: Recommended, ...refused },
      },
    },
    async (req) => {
      const premium = (await tierOf(req)) === 'premium'
      return fleet.catalogue.recommended({ ...req.query, premium, place: placeOf?.(req) })
    },
  )

  app.get(
    '/api/v1/servers/:id',
    {
      config,
      schema: {
        tags,
        summary: 'One server',
        params: z.strictObject({ id: Id }),
        response: { 200: ServerView, ...refused },
      },
    },
    async (req) => {
      const server = fleet.byId(req.params.id)
      if (!server) throw new NotFound('The server')
      return server.view
    },
  )
}
