#!/usr/bin/env node
// Plain JavaScript, so that it runs on any Node: hands over to the Node this project pins when the machine's is too old.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const WANTED = 24
const entry = fileURLToPath(new URL('../src/prime.ts', import.meta.url))
const pinned = fileURLToPath(new URL('../../../node_modules/.bin/node', import.meta.url))

if (Number(process.versions.node.split('.')[0]) >= WANTED) {
  const { prime } = await import(entry)
  process.exitCode = await prime(process.argv.slice(2))
} else if (existsSync(pinned)) {
  const child = spawn(pinned, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' })
  // The terminal's signals reach the child by itself; we stay until it has ended.
  for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {})
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  child.on('error', (error) => {
    console.error(error.message)
    process.exit(1)
  })
  child.on('exit', (code) => process.exit(code ?? 1))
} else {
  console.error(
    `Prime VPN needs Node ${WANTED} or newer; this is ${process.version}. Run npm ci first: it brings the right one.`,
  )
  process.exit(1)
}
