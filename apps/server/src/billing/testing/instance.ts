/** One server process with the billing room alone, for tests that kill it: `node instance.ts <database url>`; Stripe by the environment. */
import { flushCompileCache } from 'node:module'
import type { onRequestAsyncHookHandler } from 'fastify'
import { permissionsOf } from '../../accounts/index.ts'
import { parseConfig } from '../../platform/config/index.ts'
import { openPool } from '../../platform/db/index.ts'
import { createApp } from '../../platform/http/index.ts'
import { startJobs } from '../../platform/jobs.ts'
import { createLog } from '../../platform/log.ts'
import { createBilling } from '../create.ts'

const authenticate: onRequestAsyncHookHandler = async (req) => {
  const { 'x-user': user } = req.headers
  if (typeof user !== 'string') return
  req.principal = {
    userId: user,
    sessionId: user,
    role: 'user',
    permissions: permissionsOf('user'),
    mustChangePassword: false,
    isVerified: true,
    entitlement: { planId: 'free', tier: 'free', maxDevices: 1, maxConnections: 1, expiresAt: null },
    sessionExpiresAt: new Date(8.64e15),
    credentialExpiresAt: new Date(8.64e15),
  }
}

const url = process.argv[2] ?? ''
const config = parseConfig({ ...process.env, PUBLIC_URL: 'https://vpn.example.com' })
const log = createLog('silent')
const sql = openPool(url)
const billing = createBilling({
  db: sql,
  config,
  log,
  publicUrl: 'https://vpn.example.com',
  mailer: { kind: 'off', send: async () => undefined, close: () => undefined },
  attempts: { failed: () => undefined },
  onEntitlementChanged: async () => 0,
})
const app = await createApp({ config, log, authenticate })
app.decorateRequest('idempotency', null)
billing.routes(app)
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
await billing.start(`http://127.0.0.1:${process.env.PORT}`)
await startJobs(url, undefined, billing.jobs, [], log)
// A process that is killed leaves no compiled modules to the next one by itself.
flushCompileCache()
process.send?.('ready')
