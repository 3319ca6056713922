// Several users: named keys with roles and rates, the audit log, TLS.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import https from 'node:https';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { onePost } from './posts.mjs';
import { binary, freshFolder, Server } from './server.mjs';

const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });
const run = (...args) => spawnSync(binary, args, { encoding: 'utf8' });

describe('named keys', () => {
  let data, server, audit;
  const keys = {};
  const keysCommand = (...args) => run('keys', ...args, '--data', data);
  const make = (name, ...more) => {
    const { status, stdout, stderr } = keysCommand('add', name, ...more);
    assert.equal(status, 0, stderr);
    keys[name] = stdout.trim();
  };
  const call = (name, path, options = {}) => fetch(`${server.url}${path}`, {
    ...options, headers: { ...options.headers, ...(name ? { Authorization: `Bearer ${keys[name] ?? name}` } : {}) },
  });
  const post = (name) => call(name, '/v1/posts', {
    method: 'POST', headers: { 'Content-Type': 'application/x-ndjson' }, body: JSON.stringify(onePost(`by-${name}`, `A post by ${name}.`)),
  });

  before(async () => {
    data = freshFolder();
    audit = join(data, 'audit.jsonl');
    make('reader');
    make('poster', '--role', 'poster');
    make('slow', '--requests-per-minute', '3');
    server = await Server.start({ data, args: ['--audit-log', audit] });
  });
  after(async () => {
    await server?.stop();
    rmSync(data, { recursive: true, force: true });
  });

  test('the file holds no key, and only its owner reads it', () => {
    const text = readFileSync(join(data, 'keys.toml'), 'utf8');
    for (const key of Object.values(keys)) assert.ok(!text.includes(key));
  });

  test('without a key, or with another one, nothing is told', async () => {
    for (const key of [null, 'fathom-nobody', `${keys.reader}x`]) {
      const response = await call(key, '/v1/search?q=post');
      assert.equal(response.status, 401);
      assert.equal((await response.json()).error.code, 'invalid_api_key');
    }
    assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
  });

  test('a reader searches and does not post; a poster does both', async () => {
    const refused = await post('reader');
    assert.equal(refused.status, 403);
    assert.match((await refused.json()).error.message, /'reader' has the role reader; this needs poster/);
    assert.equal((await post('poster')).status, 200);
    const { hits } = await (await call('reader', '/v1/search?q=poster')).json();
    assert.equal(hits.length, 1);
  });

  test('a rate is kept, told in headers, and refilled', async () => {
    for (const left of ['2', '1', '0']) {
      const response = await call('slow', '/v1/search?q=post');
      assert.equal(response.status, 200);
      assert.equal(response.headers.get('x-ratelimit-limit-requests'), '3');
      assert.equal(response.headers.get('x-ratelimit-remaining-requests'), left);
    }
    const refused = await call('slow', '/v1/search?q=post');
    assert.equal(refused.status, 429);
    assert.ok(Number(refused.headers.get('retry-after')) >= 1);
    assert.equal((await call('reader', '/v1/search?q=post')).status, 200, 'others are not held up');
  });

  test('a key given or taken away counts at once', async () => {
    make('late');
    for (let tries = 0; (await call('late', '/v1/status')).status !== 200; tries += 1) {
      assert.ok(tries < 50, 'the new key is not known');
      await pause(100);
    }
    assert.equal(keysCommand('remove', 'late').status, 0);
    for (let tries = 0; (await call('late', '/v1/status')).status !== 401; tries += 1) {
      assert.ok(tries < 50, 'the key still works');
      await pause(100);
    }
  });

  test('the audit log says who did what, and not what they asked', async () => {
    await call('reader', '/v1/search?q=secretword');
    const lines = readFileSync(audit, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    const posted = lines.find(({ key, method }) => key === 'poster' && method === 'POST');
    assert.deepEqual([posted.path, posted.status, posted.role, posted.from], ['/v1/posts', 200, 'poster', '127.0.0.1']);
    assert.ok(lines.some(({ key, status }) => key === 'reader' && status === 403));
    assert.ok(lines.some(({ key, status }) => key === '' && status === 401));
    assert.ok(!readFileSync(audit, 'utf8').includes('secretword'));
  });

  test('the command refuses what it cannot do with a sentence', () => {
    for (const [args, sentence] of [
      [['add', 'reader'], /already/], [['add', 'a b'], /name/], [['remove', 'nobody'], /no key 'nobody'/], [['add', 'x', '--role', 'king'], /king|role/],
    ]) {
      const { status, stderr } = keysCommand(...args);
      assert.equal(status, 2, stderr);
      assert.match(stderr, sentence);
    }
    assert.deepEqual(JSON.parse(keysCommand('list', '--json').stdout).map(({ name }) => name), ['reader', 'poster', 'slow']);
  });
});

describe('TLS', { skip: spawnSync('openssl', ['version']).status === 0 ? false : 'no openssl' }, () => {
  let data, server;
  const certificate = (name) => {
    const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${name}`,
      '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', join(data, 'key.pem'), '-out', join(data, 'chain.pem')]);
    assert.equal(made.status, 0);
  };
  const request = (path, { method = 'GET', body, agent, headers } = {}) => new Promise((done, fail) => {
    const sent = https.request(`${server.url}${path}`, { method, ca: readFileSync(join(data, 'chain.pem')), agent, headers }, (response) => {
      let text = '';
      const subject = response.socket.getPeerCertificate().subject?.CN;
      response.setEncoding('utf8').on('data', (piece) => { text += piece; });
      response.on('end', () => done({ status: response.statusCode, text, subject }));
    });
    sent.on('error', fail);
    sent.end(body);
  });

  before(async () => {
    data = freshFolder();
    certificate('first');
    server = await Server.start({ data, args: ['--tls-certificate', join(data, 'chain.pem'), '--tls-key', join(data, 'key.pem')] });
  });
  after(async () => {
    await server?.stop();
    rmSync(data, { recursive: true, force: true });
  });

  test('requests, large bodies, kept connections and streams go through', async () => {
    assert.match(server.url, /^https:/);
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    const posts = Array.from({ length: 2000 }, (_, i) => JSON.stringify(onePost(`tls-${i}`, `Encrypted ferry number${i} of the day.`))).join('\n');
    const posted = await request('/v1/posts', { method: 'POST', body: posts, agent, headers: { 'Content-Type': 'application/x-ndjson' } });
    assert.equal(posted.status, 200, posted.text);
    for (let i = 0; i < 20; i += 1) {
      const { status, text } = await request(`/v1/search?q=number${i}`, { agent });
      assert.equal(status, 200);
      assert.equal(JSON.parse(text).hits[0].post.id, `tls-${i}`);
    }
    const answer = await request('/v1/chat/completions', {
      method: 'POST', agent, headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ model: 'fathom-extract', stream: true, messages: [{ role: 'user', content: 'What about ferry number7?' }] }),
    });
    assert.match(answer.text, /data: \[DONE\]/);
    agent.destroy();
  });

  test('a client that leaves a stream is noticed', async () => {
    const clients = async () => Number(/fathom_feed_clients (\d+)/.exec((await request('/metrics')).text)?.[1]);
    const sent = https.get(`${server.url}/v1/feed`, { ca: readFileSync(join(data, 'chain.pem')), headers: { Accept: 'text/event-stream' } });
    sent.on('error', () => {});
    for (let tries = 0; await clients() !== 1; tries += 1) {
      assert.ok(tries < 50, 'the stream did not begin');
      await pause(100);
    }
    sent.destroy();
    for (let tries = 0; await clients() !== 0; tries += 1) {
      assert.ok(tries < 100, 'the client is still held');
      await pause(100);
    }
  });

  test('plain HTTP and broken handshakes get nothing, and the server goes on', async () => {
    await assert.rejects(fetch(server.url.replace('https', 'http')));
    assert.equal((await request('/healthz')).status, 200);
  });

  test('a renewed certificate is taken without a restart', async () => {
    certificate('second');
    for (let tries = 0; (await request('/healthz').catch(() => ({}))).subject !== 'second'; tries += 1) {
      assert.ok(tries < 120, 'the old certificate is still shown');
      await pause(100);
    }
  });

  test('files that are no certificate are refused with a sentence', () => {
    const { status, stderr } = run('serve', '--data', join(data, 'other'), '--port', '0', '--source', 'none', '--model', 'none',
      '--tls-certificate', join(data, 'key.pem'), '--tls-key', join(data, 'key.pem'));
    assert.equal(status, 2, stderr);
    assert.match(stderr, /key\.pem' cannot be used for TLS/);
  });
});
