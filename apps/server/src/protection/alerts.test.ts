import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createLog } from '../platform/log.ts'
import { Alerts } from './alerts.ts'

function alerts(webhook?: string) {
  const lines: string[] = []
  const to = new PassThrough()
  to.on('data', (line: Buffer) => lines.push(line.toString()))
  const clock = { now: 0 }
  const made = new Alerts({
    log: createLog('info', to),
    now: () => clock.now,
    webhook,
    appName: 'Prime',
    isPrivate: () => true,
  })
  const heard: string[] = []
  made.on(({ text }) => heard.push(text))
  return { made, heard, lines, clock }
}

test('twenty bans within a minute are a storm, told once in five minutes; the same over an hour are none', () => {
  const { made, heard, lines, clock } = alerts()
  for (let i = 0; i < 19; i++) made.banned()
  assert.equal(heard.length, 0)
  for (let i = 0; i < 50; i++) made.banned()
  assert.equal(heard.length, 1)
  assert.match(lines[0] ?? '', /ban storm/)
  clock.now += 6 * 60_000
  for (let i = 0; i < 20; i++) made.banned()
  assert.equal(heard.length, 2)
  for (let i = 0; i < 60; i++) {
    clock.now += 60_000
    made.banned()
  }
  assert.equal(heard.length, 2)
})

test('the webhook reaches no private address, by number or by name, and an alert is told all the same', async () => {
  for (const url of ['https://127.0.0.1:1/x', 'https://[::1]:1/x', 'https://localhost:1/x']) {
    const { made, heard, lines } = alerts(url)
    made.raise('something')
    const until = performance.now() + 3_000
    while (lines.length < 2 && performance.now() < until) await sleep(10)
    assert.equal(heard.length, 1)
    assert.match(lines[1] ?? '', /private|no public address/, url)
  }
})

test('a listener that ended hears no more', () => {
  const { made } = alerts()
  const heard: string[] = []
  made.on(({ text }) => heard.push(text))()
  made.raise('x')
  assert.deepEqual(heard, [])
})
