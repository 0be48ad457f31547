import type { ErrorOut, KoaContextWithOIDC } from 'oidc-provider'
import { html, page, pagePolicy } from './layout.ts'

const HELP: Record<string, string> = {
  invalid_client: 'This app is not registered here.',
  invalid_redirect_uri: 'The app asked to be answered at an address that is not registered for it.',
  access_denied: 'You did not allow it. You can close this page.',
  server_error: 'Something went wrong on our side. Try again.',
}
const GENERAL = 'The app’s request was not valid, or the page has expired. Go back to the app and begin again.'

/** A fault shown to a person; what the app did wrong is named for its developers, and nothing of our inside. */
export const errorText = (code: string, detail: string | null): string =>
  page(
    'This did not work',
    html`<p>${HELP[code] ?? GENERAL}</p>
      <p class="hint">${code}${detail === null ? '' : `: ${detail}`}</p>`,
  )

/** The provider's own errors where there is nowhere to send the browser. */
export function errorPage(ctx: KoaContextWithOIDC, out: ErrorOut): void {
  ctx.type = 'html'
  ctx.set('content-security-policy', pagePolicy())
  const detail = out.error === 'server_error' ? null : (out.error_description ?? null)
  ctx.body = errorText(out.error, detail)
}
