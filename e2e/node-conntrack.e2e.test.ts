import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createSocket } from 'node:dgram'
import { conntrackMax, conntrackUse, flushFlows } from '../apps/node/src/conntrack.ts'
import { sh } from './node-lab.ts'

const dir = mkdtempSync(join(tmpdir(), 'prime-node-'))
const slots = Array.from({ length: 8 }, (_, i) => i + 2)

before(() => {
  // Tracking begins where a rule asks for it.
  sh('nft', 'table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }')
  for (const n of slots) {
    sh('ip', 'address', 'add', `10.77.4.${n}/32`, 'dev', 'lo')
    sh('ip', 'address', 'add', `fd77:4::${n}/128`, 'dev', 'lo', 'nodad')
  }
})
after(() => rmSync(dir, { recursive: true, force: true }))

async function flow(from: string, to: string): Promise<void> {
  const socket = createSocket(from.includes(':') ? 'udp6' : 'udp4')
  await new Promise<void>((resolve) => socket.bind(0, from, resolve))
  await new Promise<void>((resolve) => socket.send('x', 9, to, () => resolve()))
  socket.close()
}
const flowsOf = (address: string): number =>
  ['ipv4', 'ipv6']
    .flatMap((kind) => sh('conntrack', '-L', '-f', kind).split('\n'))
    .filter((line) => line.includes(`src=${address} `) || line.includes(`dst=${address} `)).length

test('flows from and to an address are forgotten in both families, those of others stay', async () => {
  await flow('10.77.4.2', '127.0.0.1')
  await flow('127.0.0.1', '10.77.4.2')
  await flow('fd77:4::2', '::1')
  await flow('10.77.4.3', '127.0.0.1')
  assert.deepEqual([flowsOf('10.77.4.2'), flowsOf('fd77:4::2'), flowsOf('10.77.4.3')], [2, 1, 1])
  await flushFlows(['10.77.4.2/32', 'fd77:4::2/128'], dir)
  assert.deepEqual([flowsOf('10.77.4.2'), flowsOf('fd77:4::2'), flowsOf('10.77.4.3')], [0, 0, 1])
})

test('of many addresses those with flows are found first, and the end is the same', async () => {
  for (const n of slots) await flow(`10.77.4.${n}`, '127.0.0.1')
  for (const n of slots) await flow(`fd77:4::${n}`, '::1')
  await flushFlows(
    slots.filter((n) => n !== 5).flatMap((n) => [`10.77.4.${n}/32`, `fd77:4::${n}/128`]),
    dir,
  )
  assert.deepEqual(
    slots.map((n) => flowsOf(`10.77.4.${n}`) + flowsOf(`fd77:4::${n}`)),
    [0, 0, 0, 2, 0, 0, 0, 0],
  )
})

test('no flow at all is no fault, a network is forgotten as a whole, and no file is left behind', async () => {
  await flushFlows(['10.77.4.200/32'], dir)
  await flow('10.77.4.6', '127.0.0.1')
  await flushFlows(['10.77.4.0/22'], dir)
  assert.equal(flowsOf('10.77.4.6'), 0)
  assert.deepEqual(readdirSync(dir), [])
})

test('the use of the table is told as a share', async () => {
  assert.ok(((await conntrackMax()) ?? 0) > 0)
  const use = (await conntrackUse()) ?? -1
  assert.ok(use >= 0 && use < 1)
})
