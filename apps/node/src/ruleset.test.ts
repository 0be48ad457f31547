import assert from 'node:assert/strict'
import { test } from 'node:test'
import { COUNTERS, markOf, ruleset, type RulesetWish } from './ruleset.ts'

const WISH: RulesetWish = {
  interface: 'wg0',
  addresses: ['10.77.4.1/22', 'fd77:4::1/64'],
  listenPort: 51820,
  dns: ['10.77.4.1'],
  open: ['10.0.0.9', 'fd00::9'],
  servicePorts: [22, 8000],
  natPorts: { from: 8001, to: 51819 },
  flowsPerPeer: 4096,
}

test('the same wish gives the same text, and any difference another mark', () => {
  const mark = (wish: RulesetWish): string => /text_[0-9a-f]{24}/.exec(ruleset(wish))?.[0] ?? ''
  assert.equal(ruleset(WISH), ruleset({ ...WISH, servicePorts: [8000, 22, 22] }))
  const others: Partial<RulesetWish>[] = [
    { listenPort: 51821 },
    { dns: [] },
    { open: [] },
    { addresses: ['10.77.8.1/22'] },
    { flowsPerPeer: 10 },
    { natPorts: { from: 9000, to: 9999 } },
  ]
  assert.equal(new Set([mark(WISH), ...others.map((o) => mark({ ...WISH, ...o }))]).size, others.length + 1)
})

test('only its own two tables are named, and replaced in one batch', () => {
  const text = ruleset(WISH)
  const tables = [...text.matchAll(/^(?:delete )?table \S+ (\S+)/gm)].map(([, name]) => name)
  assert.deepEqual(new Set(tables), new Set(['prime_wg0']))
  assert.doesNotMatch(text, /flush/)
})

test('every chain lets other traffic pass: each rule names the interface or the pool', () => {
  const base = [...ruleset(WISH).matchAll(/chain \w+ \{\n\s+type [^\n]*\n([^}]*)\}/g)]
  assert.ok(base.length >= 7)
  for (const [all, rules = ''] of base) {
    assert.match(all, /policy accept;|arp/)
    for (const rule of rules.trim().split('\n'))
      assert.match(rule, /wg0|@pool[46]|udp [ds]port 51820|iifname "lo" accept|arp [ds]addr ip 10\.77\.4\.0\/22/, rule)
  }
})

test('source NAT picks random ports from a range that holds none of ours', () => {
  const nat = [...ruleset(WISH).matchAll(/masquerade to :(\d+)-(\d+) fully-random/g)]
  assert.equal(nat.length, 2)
  for (const [, from, to] of nat)
    for (const port of [22, 8000, 51820]) assert.ok(port < Number(from) || port > Number(to))
})

test('packets are sorted out as spoofed before they are tracked', () => {
  assert.match(
    ruleset(WISH),
    /chain prerouting \{\s+type filter hook prerouting priority raw; policy accept;\s+iifname "wg0" goto arrived/,
  )
})

test('all counters are declared and used', () => {
  const text = ruleset(WISH)
  for (const name of Object.keys(COUNTERS))
    assert.equal(text.split(new RegExp(`counter (?:name )?${name}\\b`)).length > 2, true, name)
})

test('nothing but addresses and numbers can reach the text', () => {
  for (const bad of ['1.2.3.4; flush ruleset', '1.2.3.4 }\n', '$(id)', 'fe80::1%eth0', '10.0.0.1/8x', ''])
    for (const wish of [{ open: [bad] }, { dns: [bad] }, { addresses: [bad] }])
      assert.throws(() => ruleset({ ...WISH, ...wish }), bad)
  for (const bad of [0, 65_536, 1.5, Number.NaN]) {
    assert.throws(() => ruleset({ ...WISH, listenPort: bad }))
    assert.throws(() => ruleset({ ...WISH, servicePorts: [bad] }))
  }
  assert.throws(() => ruleset({ ...WISH, flowsPerPeer: 0 }))
})

test('a pool of one family still has rules for the other, which drop everything', () => {
  const text = ruleset({ ...WISH, addresses: ['10.77.4.1/22'] })
  assert.match(text, /set pool6 \{\s+type ipv6_addr\s+flags interval\s+auto-merge\s+\}/)
  assert.match(text, /ip6 saddr != @pool6 counter name spoofed drop/)
})

test('without ARP in the kernel the batch is the same less its second table', () => {
  const text = ruleset(WISH, { arp: false })
  assert.doesNotMatch(text, /table arp/)
  assert.notEqual(markOf(text), markOf(ruleset(WISH)))
})
