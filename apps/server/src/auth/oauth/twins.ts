import { setTimeout as sleep } from 'node:timers/promises'
import { errors, Provider } from 'oidc-provider'
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

/**
 * True while the provider answers a request to go on from a page that was not let on: it must leave the browser's flow to
 * the one that was, and write neither row nor cookie of it.
 */
export function isStepLost(): boolean {
  const oidc = Provider.ctx?.oidc
  return oidc !== undefined && /^(device_)?resume$/.test(oidc.route) && oidc.result === undefined
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
