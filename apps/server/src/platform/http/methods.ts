import type { App } from './app-type.ts'
import findMyWay from 'find-my-way'
import { MAX_HEADER_SIZE } from './paths.ts'

/**
 * Remembers which methods a path has, so that a wrong method is told as 405 with `Allow` and not as 404.
 * Must be called before the first route is added.
 */
export function rememberMethods(app: App): (url: string) => string[] {
  const router = findMyWay({ ignoreDuplicateSlashes: true, maxParamLength: MAX_HEADER_SIZE })
  const byPath = new Map<string, Set<string>>()
  app.addHook('onRoute', (route) => {
    if (route.url === '*') return
    let methods = byPath.get(route.url)
    if (!methods) {
      methods = new Set()
      byPath.set(route.url, methods)
      router.on('GET', route.url, () => undefined, methods)
    }
    for (const method of [route.method].flat()) methods.add(method)
  })
  return (url) => {
    const found = router.find('GET', url.split('?')[0] ?? '')
    return found ? [...(found.store as Set<string>)].toSorted() : []
  }
}
