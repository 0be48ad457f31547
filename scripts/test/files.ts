import { glob } from 'node:fs/promises'

export type Found = { unit: string[]; network: string[] }

const AREAS = ['apps', 'packages', 'scripts', 'bench', 'e2e']
const unwanted = (name: string): boolean => name === 'node_modules' || name === 'dist' || name === 'coverage'

/**
 * The test files of the project whose path holds any of the words (all of them when there are none), sorted.
 * `network` are those that need a network namespace of their own and run one after the other.
 */
export async function findTests(cwd: string, words: string[]): Promise<Found> {
  const found: Found = { unit: [], network: [] }
  const patterns = AREAS.map((area) => `${area}/**/*.test.ts`)
  for await (const path of glob(patterns, { cwd, exclude: (path) => unwanted(path.split('/').at(-1) ?? '') })) {
    if (words.length && !words.some((word) => path.includes(word))) continue
    const kind = path.startsWith('e2e/') && path.endsWith('.e2e.test.ts') ? 'network' : 'unit'
    found[kind].push(path)
  }
  return { unit: found.unit.toSorted(), network: found.network.toSorted() }
}
