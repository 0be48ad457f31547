#!/usr/bin/env node
// Plain JavaScript, so that it runs on any Node: hands over to the Node this project pins when the machine's is too old.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const WANTED = 24
const entry = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const pinned = fileURLToPath(new URL('../../../node_modules/.bin/node', import.meta.url))

if (Number(process.versions.node.split('.')[0]) >= WANTED) await import(entry)
else if (existsSync(pinned)) {
  const child = spawn(pinned, [entry, ...process.argv.slice(2)], { stdio: 'inherit' })
  // A terminal sends its signals to the agent too; we stay until it has ended.
  for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {})
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  child.on('error', (error) => {
    console.error(`prime-node: ${error.message}`)
    process.exit(4)
  })
  child.on('exit', (code) => process.exit(code ?? 1))
} else {
  console.error(
    `prime-node: Node ${WANTED} or newer is needed, this is ${process.version}; npm ci brings the right one`,
  )
  process.exit(4)
}
