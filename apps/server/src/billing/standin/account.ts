import { endpoint } from './endpoint.ts'

/** Whose key it is. */
export const accountEndpoints = [
  endpoint('GET', '/v1/account', {}, ({ store }) => ({ id: store.state.account, object: 'account', livemode: false })),
]
