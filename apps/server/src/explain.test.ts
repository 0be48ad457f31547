import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { explain } from './explain.ts'
import { startServer } from './main.ts'
import { temporaryFolder } from './platform/testing/index.ts'

const listenError = async (host: string, port: number): Promise<unknown> => {
  const [error] = (await once(createServer().listen(port, host), 'error')) as unknown[]
  return error
}

test('a port that cannot be taken is told with what to do', async (t) => {
  const holder = createServer().listen(0, '127.0.0.1')
  await once(holder, 'listening')
  t.after(() => holder.close())
  const { port } = holder.address() as AddressInfo
  assert.match(explain(await listenError('127.0.0.1', port)), /is taken by another program.*PORT=/)
  assert.match(explain(await listenError('203.0.113.99', 0)), /not an address of this machine.*HOST/)
})

test('a data folder that is a file is told with what to do', async (t) => {
  const file = join(await temporaryFolder(t), 'file')
  await writeFile(file, '')
  const error: unknown = await mkdir(file, { recursive: true }).catch((err: unknown) => err)
  assert.match(explain(error), /file is a file where a folder is needed.*DATA_DIR/)
})

test('a database that does not answer is named as what is missing, without its password', async (t) => {
  const DATA_DIR = join(await temporaryFolder(t), 'data')
  const starting = startServer({ DATA_DIR, DATABASE_URL: 'postgres://someone:a-password@127.0.0.1:1/prime' })
  const error: unknown = await starting.catch((err: unknown) => err)
  assert.match(explain(error), /database.*ECONNREFUSED/)
  assert.doesNotMatch(explain(error), /a-password/)
})
