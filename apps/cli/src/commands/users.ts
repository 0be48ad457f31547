import { parseArgs } from 'node:util'
import type { UsersWork } from '@prime-vpn/server'
import { UsageError, type Command } from '../command.ts'

type Reset = Awaited<ReturnType<UsersWork['resetFactors']>>

const counted = (count: number, one: string): string => `${count} ${count === 1 ? one : `${one}s`}`

function told(reset: Reset): string {
  const removed = [
    ...(reset.authenticator ? ['the authenticator app'] : []),
    ...(reset.recovery_codes > 0 ? [counted(reset.recovery_codes, 'recovery code')] : []),
    ...(reset.passkeys > 0 ? [counted(reset.passkeys, 'passkey')] : []),
  ]
  return [
    removed.length > 0
      ? `Removed ${removed.join(', ')} of the account ${reset.user_id}.`
      : `The account ${reset.user_id} had no second factor.`,
    `Ended ${counted(reset.sessions, 'session')} and ${counted(reset.api_tokens, 'API token')}.`,
    reset.mailed
      ? 'A mail tells its owner, once the service runs.'
      : 'No mail is sent: the account has no address, is switched off, or MAIL is off.',
  ].join('\n')
}

export const users: Command = {
  name: 'users',
  summary: 'Take the second factors off an account whose owner has lost them.',
  usage: `Usage: prime users reset-factors <email|id>

  reset-factors  remove the account's authenticator app, recovery codes and passkeys, end its sessions and API tokens, and
                 mail its owner. The password stays and signs in alone until a new factor is set up, so make sure by
                 other means that it is the owner who asks. Devices and their tunnels stay. The audit log keeps it as
                 user.factors_reset_by_operator
  --json         print JSON

The way in for the last super admin who has lost a passkey or an authenticator app. Needs the database and SECRETS_FILE of
the service, which may run meanwhile.`,
  async run(args) {
    const { positionals, values } = parseArgs({
      args: [...args],
      options: { json: { type: 'boolean' } },
      allowPositionals: true,
    })
    const [name, who, ...rest] = positionals
    if (name !== 'reset-factors' || !who?.trim() || rest.length > 0)
      throw new UsageError("say 'reset-factors' and the e-mail address or id of one account")
    const { readEnv, withUsers } = await import('@prime-vpn/server')
    const reset = await withUsers(readEnv(process.env), (accounts) => accounts.resetFactors(who))
    console.log(values.json ? JSON.stringify(reset) : told(reset))
    return 0
  },
}
