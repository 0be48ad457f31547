import type { ErrorOut, KoaContextWithOIDC } from 'oidc-provider'
import { fault, html, page, pagePolicy } from './layout.ts'

const PREFILLED = new WeakMap<object, string>()
const FAILED = new WeakMap<object, string>()

/** A code from `verification_uri_complete`: it fills the field, and the person still sends it. */
export const prefill = (req: object, userCode: string): void => void PREFILLED.set(req, userCode)
/** The code of this request was not accepted, and why; for the limits. */
export const refusedCode = (req: object): string | undefined => FAILED.get(req)

const WRONG = 'This code is not right, or it has expired. Look at your device and try again.'

function show(ctx: KoaContextWithOIDC, text: string): void {
  ctx.type = 'html'
  ctx.set('content-security-policy', pagePolicy())
  ctx.body = text
}

function faultOf(error: Error | undefined): string | null {
  if (!error) return null
  if (error.name === 'AbortedError') return 'You did not allow it. The device was told.'
  // One answer, so that nobody learns which codes there are.
  if (['NotFoundError', 'ExpiredError', 'AlreadyUsedError', 'NoCodeError'].includes(error.name)) return WRONG
  return 'Something was not right with this page. Send the code again.'
}

/** Asks for the code that the device shows. */
export async function enterCode(
  ctx: KoaContextWithOIDC,
  _form: string,
  _out?: ErrorOut,
  error?: Error & { userCode?: string },
): Promise<void> {
  if (error) FAILED.set(ctx.req, error.name)
  const { secret } = (ctx.oidc.session as unknown as { state: { secret: string } }).state
  const code = PREFILLED.get(ctx.req) ?? ''
  if (error && error.name !== 'AbortedError') ctx.status = 400
  show(
    ctx,
    page(
      'Connect a device',
      html`${fault(faultOf(error))}
        <form method="post" action="/oauth/device">
          <input type="hidden" name="xsrf" value="${secret}" />
          <label for="user_code">Code shown on your device</label>
          <input
            id="user_code"
            name="user_code"
            value="${code}"
            class="code"
            required
            maxlength="20"
            autocomplete="off"
            autocapitalize="characters"
            spellcheck="false"
            aria-describedby="hint"
          />
          <p id="hint" class="hint">
            Only continue if you began this yourself, on a device in your hands. Next you sign in and see what the
            device asks for.
          </p>
          <button type="submit">Continue</button>
        </form>`,
    ),
  )
}

/** Not shown: the page of consent names the app and the code. */
export async function confirmDevice(ctx: KoaContextWithOIDC): Promise<void> {
  ctx.throw(400)
}

/** The device was let in. */
export async function deviceDone(ctx: KoaContextWithOIDC): Promise<void> {
  const name = ctx.oidc.client?.clientName ?? 'The device'
  show(ctx, page('Done', html`<p role="status">${name} is signed in. You can close this page and go on there.</p>`))
}
