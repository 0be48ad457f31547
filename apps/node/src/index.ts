export { run } from './commands/run.ts'
export { join } from './commands/join.ts'
export { AGENT_VERSION } from './versions.ts'
