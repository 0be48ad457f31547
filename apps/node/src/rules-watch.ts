import { spawn, type ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { minimalEnv } from './exec.ts'
import { tableName } from './ruleset.ts'

const AGAIN_MS = 5_000

/**
 * Hears at once when somebody throws away the node's rules, as `systemctl restart nftables` does with all rules there
 * are: without them tunnel packets would pass unfiltered until the next look. The helper ends with this process.
 * @returns a function that ends the watch
 */
export function watchRules(interfaceName: string, gone: () => void): () => void {
  let child: ChildProcess | null = null
  let timer: NodeJS.Timeout | null = null
  let ended = false

  const begin = (): void => {
    // setpriv lets the kernel end nft when we die; a kill -9 could not, and nft would wait for its next event.
    const args = ['--pdeathsig', 'KILL', 'nft', 'monitor', 'destroy', 'tables']
    child = spawn('setpriv', args, { env: minimalEnv(), stdio: ['ignore', 'pipe', 'ignore'] })
    child.on('error', () => undefined) // without the helper the regular look has to do
    child.on('close', () => {
      if (!ended) timer = setTimeout(begin, AGAIN_MS)
    })
    if (child.stdout)
      createInterface({ input: child.stdout }).on('line', (line) => {
        if (line.split(' ').includes(tableName(interfaceName))) gone()
      })
  }
  begin()
  return () => {
    ended = true
    if (timer) clearTimeout(timer)
    child?.kill('SIGKILL')
  }
}
