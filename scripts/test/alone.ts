/**
 * Runs one test file inside the network namespace that this process was started in (`unshare --net`), and writes what
 * came of it as JSON to descriptor 3.
 */
import { execFileSync } from 'node:child_process'
import { writeSync } from 'node:fs'
import { runPass } from './pass.ts'

const [file = '', length = 'short'] = process.argv.slice(2)
const stopping = new AbortController()
process.once('SIGTERM', () => stopping.abort())
execFileSync('ip', ['link', 'set', 'lo', 'up'])
const options = { cwd: process.cwd(), coverage: false, long: length === 'long', signal: stopping.signal }
writeSync(3, JSON.stringify(await runPass([file], options)))
