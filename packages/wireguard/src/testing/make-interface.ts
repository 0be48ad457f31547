import { execFileSync } from 'node:child_process'
import { WireguardUnavailable } from '../errors.ts'
import { openDriver } from '../open-driver.ts'

// Makes the interface named by the first argument and ends; prints why it could not. `hide-tun` as the second argument
// hides /dev/net first, for a process in a mount namespace of its own.
const [, , name = '', how] = process.argv
if (how === 'hide-tun') execFileSync('mount', ['-t', 'tmpfs', 'none', '/dev/net'])
try {
  await (await openDriver(name, 'userspace')).create()
  console.log('made')
} catch (err) {
  if (!(err instanceof WireguardUnavailable)) throw err
  console.log(err.reason)
}
