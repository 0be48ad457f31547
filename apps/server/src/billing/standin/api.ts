import { randomBytes } from 'node:crypto'
import { catalogueEndpoints } from './catalogue.ts'
import { checkoutEndpoints } from './checkout.ts'
import { readParams, type Endpoint } from './endpoint.ts'
import { expand } from './expand.ts'
import { StripeFailure } from './failure.ts'
import { parseForm } from './form.ts'
import { moneyEndpoints } from './money.ts'
import { DAY } from './period.ts'
import { peopleEndpoints } from './people.ts'
import { subscriptionEndpoints } from './subscriptions.ts'
import { STANDIN_VERSION, type World } from './world.ts'

export const ENDPOINTS: readonly Endpoint[] = [
  ...peopleEndpoints,
  ...catalogueEndpoints,
  ...subscriptionEndpoints,
  ...checkoutEndpoints,
  ...moneyEndpoints,
]

const ROUTES = ENDPOINTS.map((endpoint) => ({
  endpoint,
  pattern: new RegExp(`^${endpoint.path.replaceAll(/:\w+/g, '([^/]+)')}$`),
}))

export type ApiRequest = {
  method: string
  path: string
  query: string
  body: string
  headers: Record<string, string | string[] | undefined>
}
export type ApiAnswer = { status: number; text: string; headers: Record<string, string> }

const refuse = (status: number, message: string, code?: string): StripeFailure =>
  new StripeFailure(status, { type: 'invalid_request_error', message, ...(code ? { code } : {}) })

function assertCaller(headers: ApiRequest['headers'], key: string): void {
  if (headers.authorization !== `Bearer ${key}`) throw refuse(401, 'Invalid API Key provided.')
  const version = headers['stripe-version']
  if (version !== undefined && version !== STANDIN_VERSION)
    throw refuse(400, `This stand-in speaks ${STANDIN_VERSION}, not ${String(version)}.`)
}

function perform(world: World, { method, path, query, body, headers }: ApiRequest): unknown {
  const found = ROUTES.map(({ endpoint, pattern }) => ({ endpoint, match: pattern.exec(path) })).find(
    ({ endpoint, match }) => match && endpoint.method === method,
  )
  if (!found?.match) throw refuse(404, `Unrecognized request URL (${method}: ${path}).`)
  if (body !== '' && !String(headers['content-type']).startsWith('application/x-www-form-urlencoded'))
    throw refuse(400, 'Requests must be form-encoded.')
  const given = parseForm(method === 'POST' ? body : query)
  const params = readParams(found.endpoint.params, given)
  const answer = found.endpoint.run(world, params as never, found.match.slice(1).map(decodeURIComponent))
  const paths = (params as { expand?: string[] }).expand ?? []
  return expand(world.store, answer, paths)
}

const REMEMBER_S = DAY

/**
 * One call of the API. A repeated `Idempotency-Key` gets the first answer again; with other parameters it is refused. As
 * with Stripe, calls that failed validation are not remembered.
 */
export function answerApi(world: World, key: string, request: ApiRequest): ApiAnswer {
  const { state } = world.store
  const idempotencyKey = request.method === 'GET' ? undefined : request.headers['idempotency-key']
  const headers = { 'request-id': `req_${randomBytes(7).toString('hex')}`, 'stripe-version': STANDIN_VERSION }
  const remember = (status: number, text: string): void => {
    if (typeof idempotencyKey !== 'string') return
    state.remembered[idempotencyKey] = { path: request.path, body: request.body, status, text, at: world.store.now }
  }
  try {
    assertCaller(request.headers, key)
    if (typeof idempotencyKey === 'string' && Object.hasOwn(state.remembered, idempotencyKey)) {
      const first = state.remembered[idempotencyKey]
      if (first && first.at > world.store.now - REMEMBER_S) {
        if (first.path !== request.path || first.body !== request.body)
          throw new StripeFailure(400, {
            type: 'idempotency_error',
            message:
              'Keys for idempotent requests can only be used with the same parameters they were first used with.',
          })
        return { status: first.status, text: first.text, headers: { ...headers, 'idempotent-replayed': 'true' } }
      }
    }
    const text = JSON.stringify(perform(world, request))
    remember(200, text)
    return { status: 200, text, headers }
  } catch (error) {
    const failure =
      error instanceof StripeFailure
        ? error
        : new StripeFailure(500, { type: 'api_error', message: `The stand-in failed: ${String(error)}` })
    const text = JSON.stringify({ error: failure.body })
    if (failure.status === 402) remember(402, text)
    return { status: failure.status, text, headers }
  }
}
