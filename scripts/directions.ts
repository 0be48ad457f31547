/** Checks that imports point the way docs/architecture.md says. Run by `npm run check`. */
import { glob, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { readModules } from './directions/modules.ts'
import { faultsOf } from './directions/rules.ts'
import { root } from './runtime.ts'

async function appNames(cwd: string): Promise<Set<string>> {
  const names = new Set<string>()
  for await (const path of glob('apps/*/package.json', { cwd })) {
    const { name } = JSON.parse(await readFile(join(cwd, path), 'utf8')) as { name: string }
    names.add(name)
  }
  return names
}

/** @returns how many modules and imports of our own were seen, and each fault in words */
export async function checkDirections(cwd: string): Promise<{ modules: number; imports: number; faults: string[] }> {
  const modules = await readModules(cwd)
  const imports = modules.reduce((n, module) => n + module.imports.length, 0)
  const faults = faultsOf(modules, await appNames(cwd))
  if (modules.length === 0 || imports === 0) faults.push('no module or no import was seen: the check itself is broken')
  return { modules: modules.length, imports, faults }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { modules, imports, faults } = await checkDirections(root)
  for (const fault of faults) console.error(fault)
  console.log(`${modules} modules, ${imports} imports, ${faults.length} wrong`)
  process.exit(faults.length ? 1 : 0)
}
