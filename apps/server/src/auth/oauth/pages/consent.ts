import { html, page, type Html } from './layout.ts'

export type ConsentPage = {
  at: string
  csrf: string
  client: string
  account: string
  scopes: readonly string[]
  /** Where the browser goes afterwards; null for a device. */
  redirectUri: string | null
  /** What the device shows; null for an app on this machine. */
  userCode: string | null
}

const MEANING: Record<string, string> = {
  openid: 'Know your account number here',
  email: 'See your e-mail address',
  offline_access: 'Stay signed in until you end its session',
  vpn: 'See servers, manage your devices, connect and disconnect, see your usage',
  account: 'See and change your profile and your subscription',
  staff: 'Do everything your role as staff allows',
}

const target = ({ redirectUri, userCode }: ConsentPage): Html =>
  userCode === null
    ? html`<p class="hint">Afterwards you are sent to ${redirectUri}.</p>`
    : html`<p>The device shows this code:</p>
        <p class="code">${userCode}</p>
        <p class="hint">If it shows another one, or you have no such device, choose Cancel.</p>`

/** What an app asks for. It never gets passwords, factors, sessions, export or deletion. */
export const consentPage = (about: ConsentPage): string =>
  page(
    `Allow ${about.client}?`,
    html`<p><strong>${about.client}</strong> asks to act for <strong>${about.account}</strong>:</p>
      <ul>
        ${about.scopes.map((scope) => html`<li>${MEANING[scope] ?? scope}</li>`)}
      </ul>
      <p class="hint">
        It cannot change your password or second factor. You can end it at any time in your list of sessions.
      </p>
      ${target(about)}
      <form method="post" action="${about.at}/consent">
        <input type="hidden" name="csrf" value="${about.csrf}" />
        <button type="submit" name="decision" value="allow">Allow</button>
        <button type="submit" name="decision" value="deny" class="second">Cancel</button>
      </form>`,
  )
