/** A test's context, or the `after` of its file: `{ after }`. */
export type Scope = { after(done: () => Promise<void> | void): void }

const stacks = new WeakMap<Scope, (() => Promise<void> | void)[]>()

/**
 * Runs `done` when the scope ends, the last one registered first: what was built on something goes before it.
 * (`t.after` alone runs them in the order of registration.)
 */
export function defer(scope: Scope, done: () => Promise<void> | void): void {
  const stack = stacks.get(scope)
  if (stack) return void stack.push(done)
  const begun = [done]
  stacks.set(scope, begun)
  scope.after(async () => {
    for (let last = begun.pop(); last; last = begun.pop()) await last()
  })
}
