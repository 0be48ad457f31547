import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test, type TestContext } from 'node:test'
import { checkPlainHttp, isNear, lookupFor } from './control-url.ts'
import { enrol } from './enrol.ts'
import { Failure, Refused, Unreachable, oneLine } from './failures.ts'
import { FakeControl } from './testing/fake-control.ts'

const wish = (token: string) => ({
  token,
  public_key: `${'A'.repeat(43)}=`,
  identity_key: `${'B'.repeat(43)}=`,
  agent_version: '0',
  backend: 'kernel' as const,
})
const noSleep = { sleep: async () => undefined }

async function controlWith(t: TestContext, answer?: (res: ServerResponse) => void): Promise<FakeControl> {
  const control = await FakeControl.start()
  if (answer) control.onEnrol = (_req, res) => answer(res)
  t.after(() => control.close())
  return control
}
const reply = (status: number, body: unknown) => (res: ServerResponse) =>
  void res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))

test('a valid token is exchanged for what the node has to be', async (t) => {
  const control = await controlWith(t)
  const answer = await enrol(control.url, wish(control.token))
  assert.equal(answer.node_id, control.nodeId)
})

for (const status of [400, 401, 403, 404, 409, 410])
  test(`an answer of ${status} is a refusal with its message and no control characters`, async (t) => {
    const control = await controlWith(t, reply(status, { error: { code: 'NO', message: 'no\u0007\u001b[2J\nway' } }))
    await assert.rejects(enrol(control.url, wish('x'.repeat(20)), noSleep), (error) => {
      assert.ok(error instanceof Refused)
      assert.equal(error.exitCode, 3)
      assert.equal(error.message, 'refused: no [2J way (NO)')
      return true
    })
  })

test('a busy or broken control plane is asked again with the same words, and then given up', async (t) => {
  let asked = 0
  const control = await controlWith(t, (res) => {
    asked++
    reply(asked % 2 ? 503 : 429, {})(res)
  })
  await assert.rejects(
    enrol(control.url, wish('x'.repeat(20)), noSleep),
    (error) => error instanceof Unreachable && error.exitCode === 1,
  )
  assert.equal(asked, 5)
})

test('redirects, nonsense and endless answers are errors and not followed', async (t) => {
  const redirect = await controlWith(t, (res) => void res.writeHead(302, { location: 'http://127.0.0.1:1/' }).end())
  await assert.rejects(enrol(redirect.url, wish('x'.repeat(20)), noSleep), /redirect/)
  const nonsense = await controlWith(t, reply(200, { node_id: 'x' }))
  await assert.rejects(enrol(nonsense.url, wish('x'.repeat(20)), noSleep), /not that of a control plane/)
  const endless = await controlWith(t, (res) => {
    res.writeHead(200)
    const more = (): void => void (res.destroyed || res.write('x'.repeat(65_536), () => setImmediate(more)))
    more()
  })
  await assert.rejects(enrol(endless.url, wish('x'.repeat(20)), noSleep), /too long/)
})

test('nobody there is told as such', async () => {
  await assert.rejects(enrol('http://127.0.0.1:9', wish('x'.repeat(20)), noSleep), /cannot be reached \(ECONNREFUSED\)/)
})

test('plain http is for loopback and private addresses, also when a name hides them', async () => {
  for (const url of [
    'http://127.0.0.1:8000',
    'http://10.1.2.3',
    'http://[fd00::1]',
    'http://[::1]',
    'https://192.0.2.1',
  ])
    checkPlainHttp(url)
  for (const url of ['http://192.0.2.1', 'http://[2001:db8::1]', 'http://8.8.8.8'])
    assert.throws(() => checkPlainHttp(url), Failure)
  assert.equal(isNear('172.32.0.1'), false)
  const lookup = (url: string, host: string) =>
    new Promise<unknown>((resolve) => {
      lookupFor(new URL(url))(host, { all: true }, (error, found) => resolve(error ?? found))
    })
  assert.ok((await lookup('http://x', '192.0.2.1')) instanceof Failure)
  assert.ok(Array.isArray(await lookup('https://x', '192.0.2.1')))
  assert.ok(Array.isArray(await lookup('ws://x', 'localhost')))
})

test('one line stays one line', () => {
  assert.equal(oneLine('a\r\nb\u2028c\u0085d\u202ee'), 'a b c d e')
  assert.equal(oneLine('x'.repeat(300)).length, 200)
})
