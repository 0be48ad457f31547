import type { Content } from '../../platform/mail/index.ts'

/** Mails that tell of a change and need no answer. */
export const NOTICES = [
  'password_changed',
  'factor_enabled',
  'factor_disabled',
  'factor_failed',
  'factors_reset',
  'recovery_codes_renewed',
  'recovery_code_used',
  'passkey_added',
  'passkey_removed',
  'api_token_made',
] as const
export type Notice = (typeof NOTICES)[number]

export const isNotice = (kind: string): kind is Notice => (NOTICES as readonly string[]).includes(kind)

const TEXTS: Record<Notice, { subject: string; told: string }> = {
  password_changed: {
    subject: 'Your password was changed',
    told: 'The password of your account was changed, and other devices were signed out.',
  },
  factor_enabled: {
    subject: 'Two-factor sign-in is on',
    told: 'Your account now asks for a code of an authenticator app at sign-in. Other devices were signed out.',
  },
  factor_disabled: {
    subject: 'Two-factor sign-in is off',
    told: 'Your account no longer asks for a code at sign-in. Other devices were signed out.',
  },
  factor_failed: {
    subject: 'A sign-in failed at the second step',
    told: 'Somebody sent the right password of your account and then a wrong code. If you mistyped it, all is well.',
  },
  factors_reset: {
    subject: 'Your second factors were removed',
    told: 'The authenticator app, recovery codes and passkeys of your account were removed from it by its operator, and it was signed out everywhere. Your password signs in; set up a new factor then.',
  },
  recovery_codes_renewed: {
    subject: 'You have new recovery codes',
    told: 'New recovery codes were made for your account; the old ones no longer work.',
  },
  recovery_code_used: {
    subject: 'A recovery code was used',
    told: 'One of the recovery codes of your account was used in place of the authenticator app. It will not work again.',
  },
  passkey_added: { subject: 'A passkey was added', told: 'A passkey was added to your account.' },
  api_token_made: { subject: 'An API token was made', told: 'An API token was made for your account.' },
  passkey_removed: { subject: 'A passkey was removed', told: 'A passkey was removed from your account.' },
}

export function notice(kind: Notice, publicUrl: string): Content {
  const { subject, told } = TEXTS[kind]
  return {
    subject,
    paragraphs: [told, `If this was not you, ask for a new password at once: ${publicUrl}/app/forgot-password`],
  }
}
