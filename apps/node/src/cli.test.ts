import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseCommand } from './cli.ts'
import { UsageError } from './failures.ts'

const TOKEN = 'enrol_0123456789abcdef'
const parse = (line: string, env: Record<string, string> = {}) => parseCommand(line.split(' ').filter(Boolean), env)
const refused = (line: string, why: RegExp): void =>
  assert.throws(
    () => parse(line),
    (error) => error instanceof UsageError && error.exitCode === 2 && why.test(error.message),
    line,
  )

test('join takes a URL and a token and fills in the rest', () => {
  assert.deepEqual(parse(`join https://vpn.example/ ${TOKEN}`), {
    name: 'join',
    url: 'https://vpn.example',
    token: TOKEN,
    interface: 'wg0',
    endpoint: null,
    listenPort: null,
    dataDir: '/var/lib/prime-node',
    backend: 'auto',
  })
})

test('WIREGUARD_INTERFACE names the interface unless the command does', () => {
  const named = (line: string): unknown => parse(line, { WIREGUARD_INTERFACE: 'wg7' })
  assert.equal((named(`join https://x ${TOKEN}`) as { interface: string }).interface, 'wg7')
  assert.equal((named(`join https://x ${TOKEN} --interface wg8`) as { interface: string }).interface, 'wg8')
})

test('an endpoint gives the listen port, and a host when it has one', () => {
  const endpoint = (text: string) => {
    const command = parse(`join https://x ${TOKEN} --endpoint ${text}`)
    return command.name === 'join' ? [command.endpoint, command.listenPort] : []
  }
  assert.deepEqual(endpoint('vpn.example:443'), ['vpn.example:443', 443])
  assert.deepEqual(endpoint('[2001:db8::1]:443'), ['[2001:db8::1]:443', 443])
  assert.deepEqual(endpoint(':443'), [null, 443])
})

test('what is no command of the contract is refused with one line', () => {
  refused('', /a command is missing/)
  refused('start', /not known/)
  refused('__proto__', /not known/)
  refused('join https://x', /needs the control plane URL and a token/)
  refused(`join https://x ${TOKEN} more`, /nothing more/)
  refused(`join ftp://x ${TOKEN}`, /https/)
  refused(`join https://user:pw@x ${TOKEN}`, /no user/)
  refused(`join https://x/?a=b ${TOKEN}`, /no user, query/)
  refused('join https://x short', /no enrolment token/)
  refused(`join https://x ${TOKEN} --backend magic`, /auto, kernel or userspace/)
  refused(`join https://x ${TOKEN} --endpoint host`, /host:port/)
  refused(`join https://x ${TOKEN} --endpoint host:70000`, /host:port/)
  refused(`join https://x ${TOKEN} --nonsense`, /nonsense/)
  refused('run more', /no further words/)
  refused('run --json', /does not belong/)
  refused('status --data-dir=', /may not be empty/)
})

test('an interface name that could mean something in a path or a rule is refused', () => {
  for (const name of ['a b', 'wg/0', '..', 'wg0"', 'all', 'default', 'lo', '-x', 'x'.repeat(16), 'wg0;', 'wg\n0'])
    assert.throws(() => parseCommand(['join', 'https://x', TOKEN, `--interface=${name}`], {}), UsageError, name)
})

test('help and version win over everything else', () => {
  assert.deepEqual(parse('--help'), { name: 'help' })
  assert.deepEqual(parse('join --version'), { name: 'version' })
})
