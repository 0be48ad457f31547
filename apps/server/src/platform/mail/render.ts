import type { Mail } from './mailer.ts'

/** What a mail says: paragraphs, at most one link, at most one code to type. */
export type Content = {
  subject: string
  paragraphs: string[]
  /** The URL ends with `token=<token>`, so that its line does in the text form. */
  link?: { label: string; url: string }
  code?: string
  /** After link and code. */
  closing?: string[]
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

/** Text made inert in HTML, in elements and in quoted attributes. */
export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => ENTITIES[c] ?? c)

const paragraph = (text: string): string => `<p>${escapeHtml(text)}</p>`

/** One line: what comes from a configuration or a person adds no header. */
const oneLine = (text: string): string => text.replace(/[\r\n\u2028\u2029]+/g, ' ')

/** The mail as text and as HTML; both say the same. */
export function renderMail(to: string, appName: string, content: Content): Mail {
  const { subject, paragraphs, link, code, closing = [] } = content
  const text = [
    ...paragraphs,
    ...(link ? [`${link.label}:`, link.url] : []),
    ...(code ? ['Or type this code:', code] : []),
    ...closing,
    appName,
  ]
  const html = [
    ...paragraphs.map(paragraph),
    ...(link ? [`<p><a href="${escapeHtml(link.url)}">${escapeHtml(link.label)}</a></p>`] : []),
    ...(code ? [`<p>Or type this code: <strong>${escapeHtml(code)}</strong></p>`] : []),
    ...closing.map(paragraph),
    paragraph(appName),
  ]
  return {
    to,
    subject: oneLine(`${subject} - ${appName}`),
    text: `${text.map(oneLine).join('\n\n')}\n`,
    html: `<!doctype html><html lang="en"><meta charset="utf-8"><body>${html.join('')}</body></html>`,
  }
}
