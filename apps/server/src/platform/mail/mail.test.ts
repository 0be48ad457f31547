import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { test } from 'node:test'
import { enqueue, startJobs } from '../jobs.ts'
import { createLog } from '../log.ts'
import { throwawaySecrets } from '../secrets.ts'
import { defer, freshDatabase, type Scope } from '../testing/index.ts'
import { createMailer, outboxIsReadable, readOutbox, renderMail, sweepOutbox } from './index.ts'

const PUBLIC_URL = 'https://vpn.example'
const page = { page: 1, per_page: 20 }
const letter = renderMail('ada@example.com', 'Prime VPN', {
  subject: 'Hello\r\nBcc: evil@example.net',
  paragraphs: ['<script>alert("x")</script> & co\r\ntoken=nothing'],
  link: { label: 'Go', url: `${PUBLIC_URL}/app/x#token=abc` },
  code: '012345',
})

/** Just enough of an SMTP server to see what arrives. */
async function smtpServer(
  scope: Scope,
  refusal?: (rcpt: string) => string,
): Promise<{ port: number; lines: string[] }> {
  const lines: string[] = []
  const server = createServer((socket) => {
    let inData = false
    socket.write('220 test ESMTP\r\n')
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      for (const line of chunk.toString().split('\r\n').slice(0, -1)) {
        lines.push(line)
        if (inData && line !== '.') continue
        if (line === '.') inData = false
        else if (line === 'DATA') inData = true
        if (line.startsWith('EHLO')) socket.write('250 test\r\n')
        else if (line === 'DATA') socket.write('354 go on\r\n')
        else if (line === 'QUIT') socket.end('221 bye\r\n')
        else socket.write(`${line.startsWith('RCPT') ? (refusal?.(line) ?? '250 ok') : '250 ok'}\r\n`)
      }
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  defer(scope, () => new Promise<void>((resolve) => server.close(() => resolve())))
  return { port: (server.address() as AddressInfo).port, lines }
}

test('a mail has one subject line, inert HTML, one line ending with the token, and the code alone on a line', () => {
  assert.equal(letter.subject, 'Hello Bcc: evil@example.net - Prime VPN')
  const lines = letter.text.split('\n')
  assert.deepEqual(
    lines.filter((line) => /token=[\w-]+$/.test(line) && line.startsWith('http')),
    [`${PUBLIC_URL}/app/x#token=abc`],
  )
  assert.ok(lines.includes('012345'))
  assert.ok(!letter.html.includes('<script>'))
  assert.ok(letter.html.includes('&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; co'))
})

test('over SMTP a mail reaches exactly the address it was written to', async (t) => {
  const { sql: db } = await freshDatabase(t)
  const { port, lines } = await smtpServer(t)
  const config = { SMTP_URL: `smtp://127.0.0.1:${port}`, MAIL: 'on' as const, APP_NAME: 'Prime VPN' }
  const mailer = createMailer(config, { db, secrets: throwawaySecrets(), publicUrl: PUBLIC_URL })
  defer(t, () => mailer.close())
  assert.equal(mailer.kind, 'smtp')
  await mailer.send(letter, null)
  assert.deepEqual(
    lines.filter((line) => line.startsWith('RCPT TO')),
    ['RCPT TO:<ada@example.com>'],
  )
  assert.deepEqual(
    lines.filter((line) => line.startsWith('MAIL FROM')),
    ['MAIL FROM:<no-reply@vpn.example>'],
  )
  assert.ok(lines.every((line) => !/^bcc:/i.test(line)))
})

/** A mail job against a server that refuses so, until it has run. @returns its log, and what the queue kept of it */
async function refusedJob(t: Scope, refusal: (rcpt: string) => string) {
  const { sql: db, owner, url } = await freshDatabase(t)
  const { port } = await smtpServer(t, refusal)
  const config = { SMTP_URL: `smtp://127.0.0.1:${port}`, MAIL: 'on' as const, APP_NAME: 'Prime VPN' }
  const mailer = createMailer(config, { db, secrets: throwawaySecrets(), publicUrl: PUBLIC_URL })
  defer(t, () => mailer.close())
  let log = ''
  const ran = Promise.withResolvers<void>()
  const mail = async (): Promise<void> => {
    try {
      await mailer.send(letter, null)
    } finally {
      ran.resolve()
    }
  }
  const jobs = await startJobs(
    url,
    undefined,
    { mail },
    [],
    createLog('debug', { write: (line) => void (log += line) }),
  )
  await enqueue(db, 'mail', {})
  await ran.promise
  await jobs.stop()
  const kept = await owner<{ attempts: number; last_error: string | null }[]>`
    select attempts, last_error from graphile_worker._private_jobs`
  return { log, kept: [...kept] }
}
const named = (code: string) => (rcpt: string) => `${code} <${/<(.*)>/.exec(rcpt)?.[1]}>: no Ada Lovelace here`
const foreign = /ada|lovelace|example/i

test('a mail that the server refuses for now is tried again; nothing of its text is stored or logged', async (t) => {
  for (const code of ['450 4.2.1', '554 5.7.1']) {
    const { log, kept } = await refusedJob(t, named(code))
    const reason = `JobFailure: The mail server did not take the mail (EENVELOPE, ${code.slice(0, 3)}, RCPT TO).`
    assert.deepEqual(kept, [{ attempts: 1, last_error: reason }])
    assert.match(log, /"level":"error".*EENVELOPE/)
    assert.doesNotMatch(log, foreign)
  }
})

test('a mail to nobody is given up at once, and the log says it without the address', async (t) => {
  const { log, kept } = await refusedJob(t, named('550 5.1.1'))
  assert.deepEqual(kept, [])
  assert.match(log, /"level":"warn".*"job":"mail".*EENVELOPE, 550, RCPT TO.*failed for good/)
  assert.doesNotMatch(log, foreign)
})

test('without SMTP mails lie sealed in the outbox, are found by address, and go after a day', async (t) => {
  const { sql: db, owner } = await freshDatabase(t)
  const secrets = throwawaySecrets()
  const config = { SMTP_URL: undefined, MAIL: 'on' as const, APP_NAME: 'Prime VPN' }
  const mailer = createMailer(config, { db, secrets, publicUrl: PUBLIC_URL })
  await mailer.send(letter, null)
  await mailer.send({ ...letter, to: 'bob@example.com' }, null)
  const { mails, total } = await readOutbox({ db, secrets }, page, ' Ada@Example.com')
  assert.equal(total, 1)
  assert.deepEqual({ ...mails[0], id: '', created_at: null }, { ...letter, id: '', created_at: null })
  const rows = await owner`select encode(sealed, 'escape') as text from mail_outbox`
  assert.ok(rows.every(({ text }) => !String(text).includes('example')))
  const [first, second] = await owner<{ id: string }[]>`select id from mail_outbox order by created_at`
  await owner`update mail_outbox o set sealed = x.sealed from mail_outbox x where o.id = ${first?.id ?? ''} and x.id = ${second?.id ?? ''}`
  await assert.rejects(readOutbox({ db, secrets }, page), 'a row moved to another id does not open')
  await owner`update mail_outbox set created_at = created_at - interval '25 hours'`
  assert.equal((await readOutbox({ db, secrets }, page)).total, 0)
  await sweepOutbox(db)
  assert.equal((await owner`select from mail_outbox`).length, 0)
})

test('the outbox is read only on a trial that strangers cannot reach', () => {
  const trial = { SMTP_URL: undefined, MAIL: 'on' as const, production: false }
  for (const url of [
    'http://127.0.0.1:8000',
    'http://localhost:8000',
    'http://192.168.1.5',
    'https://[::1]:8443',
    'http://[fd00::1]',
  ])
    assert.equal(outboxIsReadable(trial, url), true, url)
  for (const url of ['https://vpn.example', 'http://203.0.113.5', 'http://10.example.com', 'http://[2001:db8::1]'])
    assert.equal(outboxIsReadable(trial, url), false, url)
  assert.equal(outboxIsReadable({ ...trial, production: true }, 'http://127.0.0.1'), false)
  assert.equal(outboxIsReadable({ ...trial, SMTP_URL: 'smtp://x' }, 'http://127.0.0.1'), false)
  assert.equal(outboxIsReadable({ ...trial, MAIL: 'off' }, 'http://127.0.0.1'), false)
})
