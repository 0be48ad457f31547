import type { Content } from '../../platform/mail/index.ts'

const IGNORE = 'If this was not you, ignore this mail: nothing happens without the link or the code.'

/** A page of the web app; the token stands in the fragment, which no server and no proxy sees. */
const page = (publicUrl: string, path: string, token: string): string => `${publicUrl}/app/${path}#token=${token}`

/** The texts of our mails. They name neither the account's other data nor where a request came from. */
export const contents = {
  verify: (publicUrl: string, token: string, code: string): Content => ({
    subject: 'Confirm your e-mail address',
    paragraphs: ['Welcome. Please confirm that this address is yours.'],
    link: { label: 'Confirm within 24 hours', url: page(publicUrl, 'verify-email', token) },
    code,
    closing: ['The code is good for 10 minutes.', IGNORE],
  }),
  changeEmail: (publicUrl: string, token: string, code: string): Content => ({
    subject: 'Confirm your new e-mail address',
    paragraphs: ['An account of ours is to use this address from now on. Please confirm that it is yours.'],
    link: { label: 'Confirm within 24 hours', url: page(publicUrl, 'verify-email', token) },
    code,
    closing: ['The code is good for 10 minutes.', IGNORE],
  }),
  reset: (publicUrl: string, token: string): Content => ({
    subject: 'Choose a new password',
    paragraphs: ['Somebody asked for a new password for your account.'],
    link: { label: 'Choose it within 30 minutes', url: page(publicUrl, 'reset-password', token) },
    closing: ['It signs you out everywhere.', 'If this was not you, ignore this mail: your password stays as it is.'],
  }),
  known: (publicUrl: string): Content => ({
    subject: 'You already have an account',
    paragraphs: [
      'Somebody tried to register with this address, which already has an account.',
      `If this was you, sign in or ask for a new password: ${publicUrl}/app/`,
      'If this was not you, there is nothing to do.',
    ],
  }),
  signInCode: (publicUrl: string, code: string): Content => ({
    subject: 'Your sign-in code',
    paragraphs: [
      'After many wrong passwords for your account somebody sent the right one. Your sign-in also needs this code.',
    ],
    code,
    closing: [
      'The code is good for 10 minutes.',
      `If this was not you, your password is known to somebody else: ask for a new one at once: ${publicUrl}/app/forgot-password`,
    ],
  }),
  emailChangeAsked: (publicUrl: string): Content => ({
    subject: 'A new e-mail address was asked for',
    paragraphs: [
      'Somebody who knows your password asked to move your account to another e-mail address. It moves once that address is confirmed.',
      `If this was not you, ask for a new password at once: ${publicUrl}/app/forgot-password`,
    ],
  }),
}
