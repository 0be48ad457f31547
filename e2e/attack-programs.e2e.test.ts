import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, before, test } from 'node:test'
import { defer, freshDatabase } from '../apps/server/src/platform/testing/index.ts'
import { World } from './world.ts'

const scope = { after }
const database = await freshDatabase(scope)
const folder = mkdtempSync(join(tmpdir(), 'prime-strace-'))
let world: World

before(async () => {
  world = new World()
  // What the traced start is told with its arguments and then let go: the tunnel's process outlives the agent.
  const traced = (who: string): string[] => ['strace', '-D', '-ff', '-b', 'execve', '-e', 'trace=execve,execveat', '-s', '300', '-e', 'signal=none', '-o', join(folder, who)] // prettier-ignore
  world.under = traced('server')
  await world.startServer({ DATABASE_URL: database.url, MIGRATE_DATABASE_URL: database.ownerUrl })
  world.under = traced('agent')
  const serverId = await world.joinNode()
  const user = await world.api.user()
  for (const text of ['$(touch /tmp/owned)', '`id`', '; id', '--option', '| sh -c id']) {
    await world.api.admin('PATCH', `/admin/servers/${serverId}`, { city: text, country: text, location: text })
    const device = await world.api.must<{ id: string }>('POST', '/users/me/devices', user.token, { name: text, platform: text }) // prettier-ignore
    await world.api.must('POST', `/users/me/devices/${device.id}/config`, user.token, { location: text })
    await world.api.must('DELETE', `/users/me/devices/${device.id}`, user.token)
  }
  await world.killAgent()
  world.restartAgent()
  await world.operational(serverId)
})
defer(scope, async () => {
  await world.close()
  rmSync(folder, { recursive: true, force: true })
})

/** The argument lists of every program that was really started. */
function started(who: string): string[][] {
  const text = readdirSync(folder)
    .filter((name) => name.startsWith(`${who}.`))
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('\n')
  return [
    ...text.matchAll(/^execve(?:at)?\("([^"]*)", \[(.*)\], 0x\w+ \/\* \d+ vars \*\/(?:\) = 0$| <detached)/gm),
  ].map(([, program = '', args = '']) => [program, ...(JSON.parse(`[${args}]`) as string[]).slice(1)])
}

test('the server starts no program', () => {
  const [first, ...others] = started('server')
  assert.equal(first?.[0], process.execPath)
  assert.deepEqual(others, [])
})

const ADDRESS = String.raw`[0-9a-f.:]+\/\d+`
const WG = String.raw`pw[0-9a-f]{6}`
/** Every way in which the agent may start a program: nothing in it comes from a customer or from the control plane but numbers. */
const SHAPES = [
  String.raw`node \S+\/main\.ts (?:join http:\/\/10\.250\.0\.1:8000 - --interface ${WG}|run) --data-dir \S+\/node`,
  String.raw`(?:nft|wireguard-go|conntrack) --version`,
  String.raw`ip -V`,
  String.raw`ip -details -json address show dev ${WG}`,
  String.raw`ip -json -[46] route show default`,
  String.raw`ip link (?:add|delete) dev wgp[0-9a-f]{8}(?: type wireguard)?`,
  String.raw`ip link set dev ${WG} (?:up|mtu \d+|alias wg:[\w-]{12})`,
  String.raw`ip address (?:replace|delete) ${ADDRESS} dev ${WG}`,
  String.raw`wireguard-go --foreground ${WG}`,
  String.raw`nft -f \S+\/node\/ruleset\.nft\.\d+`,
  String.raw`nft list chain inet prime_${WG} text_[0-9a-f]{24}`,
  String.raw`nft -j list (?:chains|ruleset|counters table inet prime_${WG})`,
  String.raw`setpriv --pdeathsig KILL nft monitor destroy tables`,
  String.raw`conntrack (?:--load-file \S+\/node\/conntrack\.[\d.]+|-[LDC][\w .:\/-]*)`,
  String.raw`sysctl [\w.=\/ -]+`,
].map((shape) => new RegExp(`^${shape}$`))

test('the agent starts a handful of programs in a handful of ways, and no shell', () => {
  const said = [...new Set(started('agent').map(([program = '', ...args]) => [basename(program), ...args].join(' ')))]
  assert.ok(said.length > 10, said.join('\n'))
  assert.deepEqual(
    said.filter((line) => !SHAPES.some((shape) => shape.test(line))),
    [],
  )
})
