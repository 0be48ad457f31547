import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import type { App } from '../http/index.ts'
import { openapiDocument } from './document.ts'

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
  "worker-src blob:; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
const HOUR_CACHE = 'public, max-age=3600'

type Asset = { path: string; type: string; load: () => Promise<Buffer | string> }

const fromPackage = (name: string, file: string) => () => readFile(new URL(file, import.meta.resolve(name)))
const text = (content: string) => async () => content

const page = (title: string, style: string, body: string, scripts: string[]): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
${style}
</head>
<body>
${body}
${scripts.map((src) => `<script src="${src}"></script>`).join('\n')}
</body>
</html>
`

/** `/docs`: Swagger UI, where a call can be tried. `/redoc`: ReDoc, to read. All of it served by us. */
const assets: Asset[] = [
  {
    path: '/docs',
    type: 'text/html; charset=utf-8',
    load: text(
      page('Prime VPN API', '<link rel="stylesheet" href="/docs/swagger-ui.css">', '<div id="ui"></div>', [
        '/docs/swagger-ui.js',
        '/docs/start.js',
      ]),
    ),
  },
  {
    path: '/docs/start.js',
    type: 'text/javascript; charset=utf-8',
    load: text(
      `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#ui', deepLinking: true, tryItOutEnabled: true, filter: true, persistAuthorization: false, validatorUrl: null })\n`,
    ),
  },
  {
    path: '/docs/swagger-ui.css',
    type: 'text/css; charset=utf-8',
    load: fromPackage('@fastify/swagger-ui', './static/swagger-ui.css'),
  },
  {
    path: '/docs/swagger-ui.js',
    type: 'text/javascript; charset=utf-8',
    load: fromPackage('@fastify/swagger-ui', './static/swagger-ui-bundle.js'),
  },
  {
    path: '/redoc',
    type: 'text/html; charset=utf-8',
    load: text(
      page('Prime VPN API', '<style>body{margin:0}</style>', '<div id="redoc"></div>', [
        '/redoc/redoc.js',
        '/redoc/start.js',
      ]),
    ),
  },
  {
    path: '/redoc/start.js',
    type: 'text/javascript; charset=utf-8',
    load: text(
      `Redoc.init('/openapi.json', { hideLoading: true, disableSearch: false, nativeScrollbars: true }, document.getElementById('redoc'))\n`,
    ),
  },
  {
    path: '/redoc/redoc.js',
    type: 'text/javascript; charset=utf-8',
    load: fromPackage('redoc', './redoc.standalone.js'),
  },
]

/** `/openapi.json`, `/docs` and `/redoc`; call after every route is there. */
export function openapiRoutes(app: App): void {
  const hidden = { hide: true } as const
  const config = { needs: 'public', rule: 'STATIC' }
  let document: string | undefined
  app.get('/openapi.json', { config, schema: hidden }, async (_req, reply) => {
    document ??= JSON.stringify(openapiDocument(app))
    return reply.type('application/json; charset=utf-8').serializer(String).send(document)
  })
  for (const { path, type, load } of assets) {
    let content: Promise<Buffer | string> | undefined
    app.get(path, { config, schema: { ...hidden, querystring: z.object({}) } }, async (_req, reply) => {
      content ??= load()
      return reply
        .headers({ 'content-security-policy': POLICY, 'cache-control': HOUR_CACHE })
        .type(type)
        .send(await content)
    })
  }
}
