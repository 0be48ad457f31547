/** A Stripe of one's own for development and tests: API, hosted pages, signed webhooks and a clock that can be moved. */
export { signatureOf } from './delivery.ts'
export { StripeStandin, type Fault, type StandinOptions } from './standin.ts'
export { STANDIN_VERSION } from './world.ts'
