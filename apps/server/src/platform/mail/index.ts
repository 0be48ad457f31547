export { createMailer, type Mail, type Mailer } from './mailer.ts'
export { readOutbox, sweepOutbox, type KeptMail } from './outbox.ts'
export { renderMail, type Content } from './render.ts'
export { mailOutboxRoutes, outboxIsReadable } from './routes.ts'
