import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { test } from 'node:test'
import { decodeKey, generateKeyPair, generatePresharedKey } from '../keys.ts'
import { setLink } from '../link.ts'
import { openDriver } from '../open-driver.ts'
import { inNamespace, testInterface } from '../testing/namespace.ts'
import { Initiator } from './initiator.ts'
import { header, mac1Key, withMacs } from './messages.ts'
import { concat } from './symmetric.ts'

inNamespace(import.meta.filename, ['tun', 'wg', 'wireguard-go'], () => {
  test(
    'under a flood of initiations wireguard-go asks for its cookie and then answers',
    { timeout: 60_000 },
    async (t) => {
      const driver = await openDriver(testInterface('c'), 'userspace')
      t.after(() => driver.destroy())
      const [keys, client, presharedKey] = [generateKeyPair(), generateKeyPair(), generatePresharedKey()]
      await driver.create()
      await driver.configure({ privateKey: keys.privateKey, listenPort: 51820 })
      await setLink(driver.name, { addresses: ['10.99.0.1/24'], mtu: 1420 })
      const peer = { publicKey: client.publicKey, presharedKey, allowedIps: ['10.99.0.2/32'] }
      await driver.apply([{ op: 'set', peer }])

      const socket = createSocket('udp4')
      socket.connect(51820, '127.0.0.1')
      await once(socket, 'connect')
      const noise = createSocket('udp4')
      const key = mac1Key(new Uint8Array(decodeKey(keys.publicKey) ?? []))
      const forged = Array.from({ length: 50 }, () =>
        withMacs(concat(header(1, 1), new Uint8Array(randomBytes(108))), key, null),
      )
      const flood = setInterval(() => {
        for (let i = 0; i < 40; i++) for (const message of forged) noise.send(message, 51820, '127.0.0.1')
      }, 20)
      t.after(() => {
        clearInterval(flood)
        noise.close()
        socket.close()
      })

      const initiator = new Initiator({ privateKey: client.privateKey, serverPublicKey: keys.publicKey, presharedKey })
      /** The next answer of the type asked for; initiations are sent until it comes. */
      const answer = async (type: number): Promise<Buffer> => {
        for (;;) {
          socket.send(initiator.start())
          const [message] = (await once(socket, 'message', { signal: AbortSignal.timeout(200) }).catch(() => [
            null,
          ])) as [Buffer | null]
          if (message?.[0] === type) return message
        }
      }
      initiator.takeCookie(await answer(3))
      assert.equal(initiator.finish(await answer(2)).encrypt().length, 32)
    },
  )
})
