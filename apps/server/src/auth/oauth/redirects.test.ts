import assert from 'node:assert/strict'
import { test } from 'node:test'
import { redirectFault, redirectMatches } from './redirects.ts'

test('what may be registered: canonical https, loopback literals, private schemes with a dot', () => {
  const good = [
    'http://127.0.0.1/callback',
    'http://127.0.0.1:8123/callback?x=1',
    'http://[::1]/callback',
    'https://app.example.com/callback',
    'com.example.app:/callback',
    'com.example.app://callback',
  ]
  for (const uri of good) assert.equal(redirectFault('native', uri), null, uri)
  assert.equal(redirectFault('web', 'https://app.example.com/callback'), null)
  const bad = [
    '',
    'not a url',
    'http://localhost/callback',
    'http://localhost:80/callback',
    'http://example.com/callback',
    'http://127.0.0.1.example.com/callback',
    'http://127.0.0.1@example.com/callback',
    'http://2130706433/callback',
    'http://127.1/callback',
    'http://[::ffff:127.0.0.1]/callback',
    'https://user:pw@app.example.com/',
    'https://app.example.com/callback#x',
    'https://*.example.com/callback',
    'https://app.example.com/a/../callback',
    'https://app.example.com/%2e%2e/callback',
    'https://APP.example.com/callback',
    'https://app.example.com',
    'https://app.example.com:443/',
    'https://app.example.com/call back',
    'https://app.example.com\\@evil.example/',
    'https://bücher.example/',
    'myapp:/callback',
    'javascript:alert(1)',
    'data:text/html,x',
    'file:///etc/passwd',
    'http://127.0.0.1:0/callback',
    'http://127.0.0.1:99999/callback',
    `https://app.example.com/${'x'.repeat(500)}`,
  ]
  for (const uri of bad) assert.notEqual(redirectFault('native', uri), null, uri)
  for (const uri of ['http://127.0.0.1/callback', 'com.example.app:/callback'])
    assert.notEqual(redirectFault('web', uri), null, uri)
})

test('only the port of a loopback literal is free; everything else is exact text', () => {
  const registered = [
    'http://127.0.0.1/callback',
    'http://[::1]:7000/callback',
    'https://app.example.com/cb',
    'com.example.app:/cb',
  ]
  const good = [
    ...registered,
    'http://127.0.0.1:1/callback',
    'http://127.0.0.1:80/callback',
    'http://127.0.0.1:65535/callback',
    'http://[::1]/callback',
    'http://[::1]:9/callback',
  ]
  for (const uri of good) assert.equal(redirectMatches(registered, uri), true, uri)
  const bad = [
    'http://127.0.0.1:/callback',
    'http://127.0.0.1:0/callback',
    'http://127.0.0.1:00080/callback',
    'http://127.0.0.1:080/callback',
    'http://127.0.0.1:65536/callback',
    'http://127.0.0.1:8080@evil.example/callback',
    'http://127.0.0.1:8080/callback/',
    'http://127.0.0.1:8080/Callback',
    'http://127.0.0.1:8080/callback?x=1',
    'http://127.0.0.1:8080/callback#x',
    'http://127.0.0.1:8080/../callback',
    'http://127.0.0.1.evil.example/callback',
    'http://localhost:8080/callback',
    'http://127.0.0.2/callback',
    'https://127.0.0.1/callback',
    'HTTP://127.0.0.1/callback',
    'https://app.example.com:444/cb',
    'https://app.example.com:443/cb',
    'https://app.example.com/cb/',
    'https://APP.example.com/cb',
    'https://app.example.com/cb?x',
    'com.example.app:/cb2',
    'com.example.app://cb',
    'http://127.0.0.1:8080 /callback',
    '',
  ]
  for (const uri of bad) assert.equal(redirectMatches(registered, uri), false, uri)
})
