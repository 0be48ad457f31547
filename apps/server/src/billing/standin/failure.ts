/** An error as Stripe's API answers it. */
export class StripeFailure extends Error {
  readonly status: number
  readonly body: { type: string; message: string; code?: string; param?: string; decline_code?: string }
  constructor(status: number, body: StripeFailure['body']) {
    super(body.message)
    this.status = status
    this.body = body
  }
}

export const badParam = (param: string, message: string, code = 'parameter_invalid'): StripeFailure =>
  new StripeFailure(400, { type: 'invalid_request_error', code, param, message })

export const missing = (what: string, id: string, status = 404, param = 'id'): StripeFailure =>
  new StripeFailure(status, {
    type: 'invalid_request_error',
    code: 'resource_missing',
    param,
    message: `No such ${what}: '${id}'`,
  })

export const cardError = (code: string, message: string): StripeFailure =>
  new StripeFailure(402, {
    type: 'card_error',
    code,
    message,
    ...(code === 'card_declined' ? { decline_code: 'generic_decline' } : {}),
  })
