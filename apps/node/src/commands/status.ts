import { lockHolder } from '../lock.ts'
import { oneLine } from '../failures.ts'
import { loadIdentity } from '../identity.ts'
import { askStatus } from '../status-socket.ts'

/**
 * Tells the state of the agent on this directory.
 * @returns the text and the exit code: 0 while it runs, 1 when it does not
 */
export async function status(dataDir: string, json: boolean): Promise<{ text: string; exitCode: number }> {
  const running = await askStatus(dataDir)
  if (running) {
    if (json) return { text: JSON.stringify({ running: true, ...running }), exitCode: 0 }
    const { version, pid, warnings, ...rest } = running
    const lines = [
      `agent ${version}, running (pid ${pid})`,
      ...Object.entries(rest).map(([k, v]) => `${k}: ${oneLine(String(v))}`),
    ]
    return { text: [...lines, `warnings: ${warnings.join(', ') || 'none'}`].join('\n'), exitCode: 0 }
  }
  const identity = await loadIdentity(dataDir)
  const pid = await lockHolder(dataDir)
  const facts = { running: false, enrolled: identity?.enrolled !== null && identity !== null, pid }
  if (json) return { text: JSON.stringify(facts), exitCode: 1 }
  const what =
    pid === null
      ? 'the agent does not run; tunnels and rules go on as they are'
      : `the agent (pid ${pid}) does not answer`
  return { text: facts.enrolled ? what : 'this machine is not enrolled', exitCode: 1 }
}
