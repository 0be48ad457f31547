export { echoRequest, isEchoReply } from './icmp.ts'
export { inNamespace, testInterface } from './namespace.ts'
export { needs, type Part } from './needs.ts'
export { Responder, serve } from './responder.ts'
