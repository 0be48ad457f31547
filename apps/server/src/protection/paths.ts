import findMyWay from 'find-my-way'
import { MAX_HEADER_SIZE } from '../platform/http/index.ts'
import type { RouteKind, RuleName } from './rules.ts'

type PathRule = { url: string; rule: RuleName | RouteKind; isPublic: boolean }

/** Which rule a path has, for requests whose method it does not take. */
export class RulesOfPaths {
  readonly #router = findMyWay({ ignoreDuplicateSlashes: true, maxParamLength: MAX_HEADER_SIZE })
  readonly #known = new Map<string, PathRule>()

  add(url: string, rule: RuleName | RouteKind, isPublic: boolean): void {
    const known = this.#known.get(url)
    if (!known) {
      const added = { url, rule, isPublic }
      this.#known.set(url, added)
      this.#router.on('GET', url, () => undefined, added)
    } else if (known.rule === 'API') {
      // Of several methods the one with a rule of its own counts.
      known.rule = rule
      known.isPublic = isPublic
    }
  }

  /** @param url path with its query, in its one spelling */
  find(url: string): PathRule | undefined {
    return this.#router.find('GET', url.split('?')[0] ?? '')?.store as PathRule | undefined
  }
}
