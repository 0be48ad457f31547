import { createHash } from 'node:crypto'

/** Text that is HTML already: made by `html`, never from outside. */
export class Html {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escaped = (text: string): string => text.replace(/[&<>"']/g, (char) => ENTITIES[char] ?? char)

type Value = string | number | Html | null | undefined | false | readonly Html[]
const isList = (value: Value): value is readonly Html[] => Array.isArray(value)
const shown = (value: Value): string => {
  if (value instanceof Html) return value.text
  if (isList(value)) return value.map((item) => item.text).join('')
  return value === null || value === undefined || value === false ? '' : escaped(String(value))
}

/** A template whose values are text: whatever they hold, it comes out as text. */
export const html = (parts: TemplateStringsArray, ...values: Value[]): Html =>
  new Html(parts.reduce((text, part, i) => text + shown(values[i - 1]) + part))

const STYLE = `
:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;margin:0;background:#f4f5f7;color:#16202c}
main{max-width:26rem;margin:2rem auto;padding:2rem;background:#fff;border-radius:.75rem}
h1{font-size:1.4rem;margin:0 0 1rem}
label{display:block;font-weight:600;margin:1rem 0 .25rem}
input{box-sizing:border-box;width:100%;font:inherit;padding:.6rem;border:1px solid #6b7683;border-radius:.4rem;background:#fff;color:#16202c}
button{font:inherit;font-weight:600;padding:.7rem 1.2rem;margin:1.25rem .5rem 0 0;border:1px solid #0b57c4;border-radius:.4rem;background:#0b57c4;color:#fff}
button.second{background:#fff;color:#0b57c4}
:focus-visible{outline:3px solid #f2a900;outline-offset:2px}
.fault{border-left:.3rem solid #b3261e;padding:.5rem .75rem;background:#fdecea}
.hint{color:#4a5562;font-size:.9rem}
.code{font:600 1.5rem/1.4 ui-monospace,monospace;letter-spacing:.1em}
@media(prefers-color-scheme:dark){
body{background:#10161d;color:#e8edf2}main{background:#1a232d}input{background:#10161d;color:#e8edf2;border-color:#8a97a5}
button.second{background:#1a232d;color:#8ab8ff}.hint{color:#b3bfcb}.fault{background:#3a1d1b}}`

// As one value: whatever lays out the template below must not change what the hash is of.
const STYLE_ELEMENT = new Html(`<style>${STYLE}</style>`)
const STYLE_HASH = `'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`

/**
 * What the browser may load and where forms may lead. A form's target counts through redirects, so where the last one goes
 * to the app, the app is named.
 * @param redirectUri of the app
 */
export function pagePolicy(redirectUri?: string): string {
  const target = redirectUri === undefined ? '' : ` ${formTarget(redirectUri)}`
  return `default-src 'none'; style-src ${STYLE_HASH}; form-action 'self'${target}; frame-ancestors 'none'; base-uri 'none'`
}

/** An origin, or the scheme where the grammar of policies knows no such origin (private schemes, IPv6 literals). */
function formTarget(redirectUri: string): string {
  const { protocol, origin, hostname } = new URL(redirectUri)
  return (protocol === 'http:' || protocol === 'https:') && !hostname.startsWith('[') ? origin : protocol
}

/** A whole page. */
export const page = (title: string, body: Html): string =>
  html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        <title>${title}</title>
        ${STYLE_ELEMENT}
      </head>
      <body>
        <main>
          <h1>${title}</h1>
          ${body}
        </main>
      </body>
    </html> `.text

/** What went wrong, told to screen readers at once. */
export const fault = (text: string | null): Html | null =>
  text === null ? null : html`<p class="fault" role="alert">${text}</p>`
