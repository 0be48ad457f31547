import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { freeRange, listeningPorts, portsIn } from './ports.ts'

test('the longest run of ports without a service of ours is taken', () => {
  assert.deepEqual(freeRange([]), { from: 1024, to: 65_535 })
  assert.deepEqual(freeRange([51_820]), { from: 1024, to: 51_819 })
  assert.deepEqual(freeRange([22, 8000, 51_820]), { from: 8001, to: 51_819 })
  assert.deepEqual(freeRange([1024, 65_535]), { from: 1025, to: 65_534 })
  assert.deepEqual(freeRange([10_000, 10_000, 10_001]), { from: 10_002, to: 65_535 })
})

test('listening sockets are told from connected ones in the text of the kernel', () => {
  const text = `  sl  local_address rem_address   st
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000
   1: 0100007F:A000 0100007F:1F90 01 00000000:00000000
   2: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0`
  assert.deepEqual(portsIn(text, '0A'), [8080, 22])
})

test('a service that listens now is among them', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object' && (await listeningPorts()).includes(address.port))
  server.close()
})
