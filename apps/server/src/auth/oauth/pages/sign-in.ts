import { fault, html, Html, page } from './layout.ts'

export type SignInPage = {
  /** Path of the page's interaction. */
  at: string
  csrf: string
  client: string
  appName: string
  email: string
  /** Whether this installation has accounts that are a number alone. */
  numbers: boolean
  message: string | null
}

const accountNumber = html`<label for="account_number">Or account number</label>
  <input
    id="account_number"
    name="account_number"
    maxlength="64"
    autocomplete="off"
    autocapitalize="none"
    spellcheck="false"
  />`

/** Signing in for an app. All fields at once: without script nothing can be kept between two pages. */
export const signInPage = ({ at, csrf, client, appName, email, numbers, message }: SignInPage): string => {
  const needed = numbers ? null : new Html('required')
  return page(
    `Sign in to ${appName}`,
    html`<p>to go on to <strong>${client}</strong></p>
      ${fault(message)}
      <form method="post" action="${at}/login">
        <input type="hidden" name="csrf" value="${csrf}" />
        <label for="email">E-mail</label>
        <input
          id="email"
          name="email"
          type="email"
          value="${email}"
          ${needed}
          maxlength="254"
          autocomplete="username"
          autocapitalize="none"
          spellcheck="false"
        />
        <label for="password">Password</label>
        <input id="password" name="password" type="password" ${needed} autocomplete="current-password" />
        ${numbers ? accountNumber : null}
        <label for="totp">Code</label>
        <input
          id="totp"
          name="totp"
          maxlength="64"
          autocomplete="one-time-code"
          autocapitalize="none"
          spellcheck="false"
          aria-describedby="totp-hint"
        />
        <p id="totp-hint" class="hint">
          Only if you use an authenticator app, or we mailed you a code. A recovery code works too. This page runs
          without script, so it takes no passkeys: if you sign in by one, use your password and authenticator app here.
        </p>
        <button type="submit">Sign in</button>
      </form>
      <form method="post" action="${at}/cancel">
        <input type="hidden" name="csrf" value="${csrf}" />
        <button type="submit" class="second">Cancel</button>
      </form>`,
  )
}
