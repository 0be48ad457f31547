import { AppError, InvalidInput } from '../../platform/errors.ts'
import type { App } from '../../platform/http/index.ts'

/** A form's fields: each once. */
export type Form = Readonly<Record<string, string>>

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** @throws {InvalidInput} a field twice, or text that is none */
export function parseForm(bytes: Buffer): Form {
  const fields: Record<string, string> = Object.create(null) as Record<string, string>
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    throw new InvalidInput([], 'The form is not valid text.')
  }
  for (const [name, value] of new URLSearchParams(text)) {
    if (name in fields) throw new InvalidInput([], `The field ${name.slice(0, 50)} is given more than once.`)
    if (`${name}${value}`.includes('\0')) throw new InvalidInput([], 'The form holds a character that is not allowed.')
    fields[name] = value
  }
  return fields
}

/** Below `/oauth` forms are the only bodies (RFC 6749). */
export function useForms(app: App): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    /^application\/x-www-form-urlencoded *(; *charset="?utf-8"? *)?$/i,
    { parseAs: 'buffer' },
    (_req, body, done) => {
      try {
        done(null, parseForm(body as Buffer))
      } catch (error) {
        done(error as Error)
      }
    },
  )
  app.addContentTypeParser('*', (_req, _payload, done) => {
    done(new AppError('UNSUPPORTED_MEDIA_TYPE', 'Send a form: application/x-www-form-urlencoded.'))
  })
}

export const formOf = (body: unknown): Form => (body ?? {}) as Form
