import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** Below the ports that systems hand to outgoing connections (Linux from 32768, others from 49152). */
const [FROM, TO] = [20_000, 32_000]
const TRIES = 50

async function isFree(port: number, host: string): Promise<boolean> {
  const probe = createServer().listen(port, host)
  try {
    await once(probe, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false
    throw error
  }
  await new Promise((resolve) => probe.close(resolve))
  return true
}

/**
 * A port to listen on later. One that the system picks by itself may be given to an outgoing connection meanwhile.
 * @throws the system's error when `host` is no address of ours
 */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (let n = 0; n < TRIES; n++) {
    const port = randomInt(FROM, TO)
    if (await isFree(port, host)) return port
  }
  throw new Error(`no free port was found between ${FROM} and ${TO}`)
}
