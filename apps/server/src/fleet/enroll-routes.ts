import { EnrollAnswer, EnrollRequest } from '@prime-vpn/node-protocol'
import { ErrorBody, type App } from '../platform/http/index.ts'
import type { Acts } from './deps.ts'
import { enrollNode } from './enroll.ts'

/** Where a node comes in with its token. */
export function enrollRoutes(app: App, { acts }: { acts: Pick<Acts, 'db' | 'changed'> }): void {
  app.post(
    '/api/v1/node/enroll',
    {
      // A node stands wherever its operator put it.
      config: { needs: 'public', rule: 'AUTH_LOGIN', anywhere: true },
      schema: {
        tags: ['nodes'],
        summary: 'Enrol a node with the token of its server',
        body: EnrollRequest,
        response: { 200: EnrollAnswer, 400: ErrorBody, 401: ErrorBody, 409: ErrorBody },
      },
    },
    async (req, reply) => {
      reply.header('cache-control', 'no-store')
      return enrollNode(acts, req.body, req.id)
    },
  )
}
