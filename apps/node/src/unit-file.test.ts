import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parseCommand } from './cli.ts'

const text = readFileSync(new URL('../../../deploy/node/prime-node.service', import.meta.url), 'utf8')
const settings = new Map(
  text
    .split('\n')
    .filter((line) => /^[A-Z]\w*=/.test(line))
    .map((line): [string, string] => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
)

test('the unit runs without root and holds one capability', () => {
  assert.notEqual(settings.get('User'), 'root')
  assert.equal(settings.get('AmbientCapabilities'), 'CAP_NET_ADMIN')
  assert.equal(settings.get('CapabilityBoundingSet'), 'CAP_NET_ADMIN')
  assert.equal(settings.get('NoNewPrivileges'), 'yes')
})

test('stopping the unit leaves wireguard-go and its socket, and no core dump is written', () => {
  assert.equal(settings.get('KillMode'), 'process')
  assert.equal(settings.get('RuntimeDirectoryPreserve'), 'yes')
  assert.equal(settings.get('LimitCORE'), '0')
})

test('what the agent needs is not taken away', () => {
  assert.ok(!settings.has('ProtectKernelTunables'))
  assert.ok(!settings.has('MemoryDenyWriteExecute'))
  assert.equal(settings.get('DeviceAllow'), '/dev/net/tun rw')
  assert.match(settings.get('RestrictAddressFamilies') ?? '', /AF_NETLINK/)
})

test('the command of the unit is one of ours and keeps the token out of the arguments', () => {
  const [, words = ''] = (settings.get('ExecStart') ?? '').split('main.ts ')
  const args = words.replace('${PRIME_CONTROL_URL}', 'https://x').replace('$PRIME_NODE_OPTIONS', '').trim().split(/\s+/)
  const command = parseCommand(args, {})
  assert.ok(command.name === 'join' && command.token === '-')
  assert.equal(settings.get('StateDirectory'), 'prime-node')
  assert.equal(command.dataDir, '/var/lib/prime-node')
})
