import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { freePort } from './free-port.ts'

test('a free port can be listened on and is none that systems give to outgoing connections', async () => {
  const port = await freePort()
  assert.ok(port >= 20_000 && port < 32_000)
  const server = createServer().listen(port, '127.0.0.1')
  await once(server, 'listening')
  server.close()
})

test('an address that is not ours is told, not tried again', async () => {
  await assert.rejects(freePort('192.0.2.1'), { code: 'EADDRNOTAVAIL' })
})
