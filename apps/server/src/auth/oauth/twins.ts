import { setTimeout as sleep } from 'node:timers/promises'
import { errors, Provider, type AdapterPayload } from 'oidc-provider'
import { Forbidden } from '../../platform/errors.ts'

/** What two requests do to one page at once: a form that is sent twice, a redirect that is followed twice. */

const LONGEST_MS = 3_000
const EVERY_MS = 50

/** Another request went on from this page a moment before. Never told to the app: the other one answers it. */
export class StepTaken extends errors.InvalidRequest {
  override readonly name = 'StepTakenError'
  override allow_redirect = false
  constructor() {
    super('the page has expired')
  }
}

const isOnward = ({ route }: { route: string }): boolean => /^(device_)?resume$/.test(route)

const taken = new WeakSet<object>()

/** The request that is under way goes on from its page: it deleted it. */
export function noteStepTaken(): void {
  const oidc = Provider.ctx?.oidc
  if (oidc) taken.add(oidc)
}

/**
 * True while the provider answers a request to go on from a page that was not let on: it must leave the browser's flow to
 * the one that was, and write neither row nor cookie of it.
 */
export function isStepLost(): boolean {
  const oidc = Provider.ctx?.oidc
  return oidc !== undefined && isOnward(oidc) && !taken.has(oidc)
}

/**
 * Whoever signed in last has the browser's flow. The provider itself would first have the account before signed out by a
 * page with a script, which our pages do not run. A consent of that account that still stands open has expired.
 * @param page what the request goes on from
 */
export function letAnotherSignIn(page: AdapterPayload): void {
  const oidc = Provider.ctx?.oidc
  const session = oidc && isOnward(oidc) ? oidc.session : undefined
  const accountId = page.result?.login?.accountId
  if (!session || accountId === undefined || session.accountId === accountId) return
  delete session.accountId
  delete session.authorizations
}

/**
 * Waits until a page has its result, or is gone with it.
 * @throws {Forbidden} who answered it first failed, or takes too long
 */
export async function untilAnswered(provider: Provider, uid: string): Promise<void> {
  for (let waited = 0; waited < LONGEST_MS; waited += EVERY_MS) {
    const interaction = await provider.Interaction.find(uid)
    if (!interaction || interaction.result !== undefined) return
    await sleep(EVERY_MS)
  }
  throw new Forbidden('This page has expired. Go back to the app and begin again.')
}
