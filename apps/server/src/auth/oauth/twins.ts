import { setTimeout as sleep } from 'node:timers/promises'
import type { Provider } from 'oidc-provider'
import { Forbidden } from '../../platform/errors.ts'

/** What two requests do to one page at once: a form that is sent twice, a redirect that is followed twice. */

const LONGEST_MS = 3_000
const EVERY_MS = 50

/** Another one took this step of a sign-in a moment before. */
export class StepTaken extends Error {
  override readonly name = 'StepTaken'
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
