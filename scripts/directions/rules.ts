import type { Module } from './modules.ts'

/**
 * The rooms of the server from the top down: each may import those after it, through their `index.ts`.
 * `platform` has no single face: each of its files is one.
 */
export const ROOMS: readonly string[] = [
  'admin',
  'usage',
  'tunnels',
  'billing',
  'node-link',
  'fleet',
  'me',
  'devices',
  'entitlements',
  'auth',
  'accounts',
  'protection',
  'migrations',
  'platform',
]

/** Apps that may import another app, by the name of its workspace. */
const APP_TO_APP = new Map([['apps/cli', '@prime-vpn/server']])
const SERVER = 'apps/server/src/'
/** Areas that look at the whole from outside. */
const ABOVE_ALL = /^(scripts|bench|e2e)\//
const TESTING = /(^|\/)testing\//

const isTest = (path: string): boolean => /\.test\.tsx?$/.test(path)
/** Tests and their helpers know everybody. */
const forTests = (path: string): boolean => isTest(path) || TESTING.test(path) || path.startsWith('e2e/')

/** `apps/x` or `packages/x`; undefined for the areas that are no workspace. */
const workspaceOf = (path: string): string | undefined => /^(?:apps|packages)\/[^/]+/.exec(path)?.[0]
/** The room a file of the server stands in; '' for the files that put everything together. */
const roomOf = (path: string): string => (path.slice(SERVER.length).includes('/') ? (path.slice(SERVER.length).split('/')[0] ?? '') : '') // prettier-ignore

function betweenRooms(from: string, to: string): string | undefined {
  const [mine, theirs] = [roomOf(from), roomOf(to)]
  for (const room of [mine, theirs])
    if (room && !ROOMS.includes(room)) return `the room ${room} has no place in the order (scripts/directions/rules.ts)`
  if (mine === theirs) return undefined
  if (theirs === '') return 'a room does not know who puts it together'
  const facing = theirs === 'platform' || to === `${SERVER}${theirs}/index.ts`
  if (!facing) return `goes around the face of ${theirs} (its index.ts)`
  if (mine === '') return undefined
  return ROOMS.indexOf(mine) < ROOMS.indexOf(theirs) ? undefined : `points up: ${theirs} stands above ${mine}`
}

function betweenWorkspaces(from: string, to: string, apps: Set<string>): string | undefined {
  const mine = workspaceOf(from) ?? ''
  if (!to.startsWith('@')) return 'reaches into another workspace by path; import it by its name'
  const name = to.split('/').slice(0, 2).join('/')
  if (!apps.has(name)) return undefined
  if (mine.startsWith('packages/')) return 'a package imports no app'
  return APP_TO_APP.get(mine) === to ? undefined : `${mine} may not import ${to}`
}

/** Why this import may not be; undefined when it may. */
export function faultOf(from: string, to: string, apps: Set<string>): string | undefined {
  if (ABOVE_ALL.test(from)) return undefined
  if (!forTests(from) && TESTING.test(to)) return 'a helper of tests is imported by what is no test'
  const across = to.startsWith('@') || workspaceOf(from) !== workspaceOf(to)
  const app = workspaceOf(from)?.startsWith('apps/')
  if (forTests(from) && app) return undefined
  if (across) return betweenWorkspaces(from, to, apps)
  return from.startsWith(SERVER) && !forTests(from) ? betweenRooms(from, to) : undefined
}

/** Every import that points where it may not, in words. */
export function faultsOf(modules: Module[], apps: Set<string>): string[] {
  return modules.flatMap(({ path, imports }) =>
    imports.flatMap((to) => {
      const why = faultOf(path, to, apps)
      return why === undefined ? [] : [`${path} -> ${to}: ${why}`]
    }),
  )
}
