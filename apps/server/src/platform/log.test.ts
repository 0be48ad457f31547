import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLog, printable } from './log.ts'

function logged(write: (log: ReturnType<typeof createLog>) => void): {
  text: string
  lines: Record<string, unknown>[]
} {
  let text = ''
  write(createLog('info', { write: (line: string) => void (text += line) }))
  return {
    text,
    lines: text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>),
  }
}

test('secrets are hidden by name, at the top and below', () => {
  const { text } = logged((log) =>
    log.info(
      {
        password: 'p4ss',
        user: { email: 'a@b.example', totp: '123456' },
        req: { headers: { authorization: 'Bearer t0k' } },
      },
      'x',
    ),
  )
  for (const secret of ['p4ss', 'a@b.example', '123456', 't0k']) assert.ok(!text.includes(secret), secret)
})

test('an error is logged without what a driver attached to it', () => {
  const error = Object.assign(new Error('broken', { cause: new Error('inner') }), {
    query: 'select secret',
    parameters: ['s3cret'],
    code: '23505',
    constraint_name: 'c',
  })
  const { text, lines } = logged((log) => log.error({ err: error }, 'x'))
  assert.ok(!text.includes('s3cret') && !text.includes('select secret'))
  const err = lines[0]?.err as Record<string, unknown>
  assert.equal(err.message, 'broken')
  assert.equal(err.reason, '23505')
  assert.equal(err.constraint, 'c')
  assert.equal((err.cause as Record<string, unknown>).message, 'inner')
})

test('nothing a terminal would interpret leaves in a line', () => {
  const evil = 'a\u001b[31mred\r\nINJECTED\u2028\u009b1m%s %o'
  const { text } = logged((log) => log.info({ name: evil }, printable(evil)))
  assert.equal(text.trim().split('\n').length, 1)
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  assert.ok(!/[\u0000-\u0009\u000b-\u001f]/.test(text))
  assert.equal(printable('a\u202eb\u2028'), 'a\\u202eb\\u2028')
  assert.equal(printable('x'.repeat(500)).length, 200)
})
