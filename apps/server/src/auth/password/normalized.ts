/** One spelling for what looks alike: applied when a password is set and when it is checked (NIST 800-63B). */
export const normalized = (password: string): string => password.normalize('NFKC')
