import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { createApp } from '../http/index.ts'
import { createLog } from '../log.ts'
import { openapiDocument, useOpenapi } from './index.ts'

const config = { ALLOWED_HOSTS: [], CORS_ORIGINS: [], PUBLIC_URL: undefined }
type Operation = { parameters?: { name: string; in: string; required?: boolean }[] }

test('a route that takes an Idempotency-Key says so, also one that shares its marks with another path', async (t) => {
  const app = await createApp({ config, log: createLog('silent') })
  t.after(() => app.close())
  await useOpenapi(app, 'Test')
  const taking = new Map<string, boolean>()
  for (const [path, idempotent] of [
    ['/api/v1/own', true],
    ['/api/v1/shared', 'shared'],
    ['/api/v1/alias', 'shared'],
    ['/api/v1/none', undefined],
    ['/api/v1/never', false],
  ] as const) {
    taking.set(path, Boolean(idempotent))
    app.post(
      path,
      {
        config: { needs: 'public', ...(idempotent === undefined ? {} : { idempotent }) },
        schema: { body: z.strictObject({}), response: { 201: z.object({}) } },
      },
      async (_req, reply) => reply.code(201).send({}),
    )
  }
  await app.ready()
  const paths = openapiDocument(app).paths as Record<string, { post: Operation }>
  const shown = Object.entries(paths).map(([path, { post }]) => {
    const header = post.parameters?.find(({ name }) => name === 'Idempotency-Key')
    return [path, header?.in === 'header' && header.required !== true] as const
  })
  assert.deepEqual(new Map(shown), new Map(taking))
})
