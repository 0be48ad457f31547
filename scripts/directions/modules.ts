import { glob, readFile } from 'node:fs/promises'
import { join, posix } from 'node:path'

/** A source file and what it imports: paths from the root for our own files, the specifier itself for our workspaces. */
export type Module = { path: string; imports: string[] }

const SOURCES = ['apps', 'packages', 'scripts', 'bench', 'e2e'].map((area) => `${area}/**/*.{ts,tsx}`)
const UNWANTED = new Set(['node_modules', 'dist', 'coverage'])

/** `import ... from 'x'`, `export ... from 'x'`, `import 'x'` at the begin of a statement, and `import('x')` anywhere. */
const STATEMENT = /(?:^|[\n;])[ \t]*(?:import|export)\s(?:[^'"`;]*?\sfrom\s*)?['"]([^'"\n]+)['"]/g
const DYNAMIC = /\bimport\(\s*['"]([^'"\n]+)['"]/g

/** The specifiers a text imports from. */
export const importsOf = (text: string): string[] =>
  [STATEMENT, DYNAMIC].flatMap((pattern) => [...text.matchAll(pattern)].flatMap((match) => match[1] ?? []))

/** Our own among them, resolved; packages from outside are nobody's business here. */
export function ours(path: string, specifiers: string[]): string[] {
  return specifiers.flatMap((specifier) => {
    if (specifier.startsWith('.')) return [posix.join(posix.dirname(path), specifier)]
    return specifier.startsWith('@prime-vpn/') ? [specifier] : []
  })
}

/** Reads every TypeScript file of the project. */
export async function readModules(root: string): Promise<Module[]> {
  const modules: Module[] = []
  const exclude = (path: string) => UNWANTED.has(posix.basename(path))
  for await (const path of glob(SOURCES, { cwd: root, exclude })) {
    const text = await readFile(join(root, path), 'utf8')
    modules.push({ path, imports: ours(path, importsOf(text)) })
  }
  return modules.toSorted((a, b) => a.path.localeCompare(b.path))
}
