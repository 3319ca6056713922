// The edges of HTTP, with curl and raw sockets: what proxies, scripts and mischief send.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { onePost, townPosts } from './posts.mjs';
import { Server } from './server.mjs';

const run = promisify(execFile);
const hasCurl = await run('curl', ['--version']).then(() => true, () => false);
const CHAT = JSON.stringify({ model: 'fathom-extract', stream: true, messages: [{ role: 'user', content: 'Which team won in Tarn, and who scored?' }] });

let server;
let folder;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fathom-http-'));
  server = await Server.start();
  await server.post(townPosts());
});
after(async () => {
  await server?.stop();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/// The error object, in OpenAI's shape.
async function errorOf(response) {
  const { error } = await response.json();
  for (const field of ['message', 'type', 'param', 'code']) assert.ok(field in error, `error.${field}`);
  assert.ok(error.message.length > 5);
  return error;
}

const post = (path, body, headers = {}) => fetch(`${server.url}${path}`, { method: 'POST', body, headers: { 'Content-Type': 'application/json', ...headers } });

describe('curl', { skip: hasCurl ? false : 'curl is not installed' }, () => {
  /// {status, body} of one curl call.
  async function curl(...args) {
    const { stdout } = await run('curl', ['-sS', '--max-time', '20', '-w', '\n%{http_code}', ...args], { maxBuffer: 64 << 20 });
    const at = stdout.lastIndexOf('\n');
    return { status: Number(stdout.slice(at + 1)), body: stdout.slice(0, at) };
  }
  const JSON_TYPE = ['-H', 'Content-Type: application/json'];

  test('a streamed answer', async () => {
    const { status, body } = await curl('-N', `${server.url}/v1/chat/completions`, ...JSON_TYPE, '-d', CHAT);
    assert.equal(status, 200);
    const frames = body.split('\n\n').filter((frame) => frame.startsWith('data: '));
    assert.equal(frames.at(-1), 'data: [DONE]');
    const text = frames.slice(0, -1).map((frame) => JSON.parse(frame.slice(6)).choices[0]?.delta.content ?? '').join('');
    assert.match(text, /Okafor/);
  });

  test('Expect: 100-continue, HTTP/1.0, a chunked body, a slow reader', async () => {
    const big = join(folder, 'big.json');
    writeFileSync(big, JSON.stringify({ model: 'fathom-extract', messages: [{ role: 'user', content: `Who won in Tarn? ${' '.repeat(60_000)}` }] }));
    for (const args of [['-H', 'Expect: 100-continue', '--data-binary', `@${big}`], ['--http1.0', '-d', CHAT],
      ['-H', 'Transfer-Encoding: chunked', '-d', CHAT], ['--limit-rate', '20k', '-d', CHAT]]) {
      const { status, body } = await curl(`${server.url}/v1/chat/completions`, ...JSON_TYPE, ...args);
      assert.equal(status, 200, `${args}: ${body.slice(0, 300)}`);
      assert.match(body, /Tarn/);
    }
  });

  test('a wrong method, an empty body, too large a body', async () => {
    assert.equal((await curl('-X', 'DELETE', `${server.url}/v1/chat/completions`)).status, 405);
    assert.equal((await curl('-X', 'POST', `${server.url}/v1/chat/completions`, ...JSON_TYPE)).status, 415);
    const huge = join(folder, 'huge.json');
    writeFileSync(huge, JSON.stringify({ model: 'fathom', messages: [{ role: 'user', content: 'x'.repeat(10 << 20) }] }));
    const { status, body } = await curl(`${server.url}/v1/chat/completions`, ...JSON_TYPE, '-H', 'Expect:', '--data-binary', `@${huge}`);
    assert.equal(status, 413, body.slice(0, 300));
    assert.match(JSON.parse(body).error.message, /exceeds/);
  });
});

describe('errors', () => {
  test('have OpenAI\'s shape on every path', async () => {
    const cases = [
      [await fetch(`${server.url}/v1/nothing`), 404], [await fetch(`${server.url}/nothing.js`), 404],
      [await post('/v1/chat/completions', '{"model":'), 400], [await post('/v1/chat/completions', '[]'), 400],
      [await post('/v1/chat/completions', '{"model":"fathom"}'), 400], [await post('/v1/chat/completions', '['.repeat(5000)), 400],
      [await post('/v1/posts', 'not json', { 'Content-Type': 'application/x-ndjson' }), 400], [await post('/v1/posts', ''), 400],
      [await fetch(`${server.url}/v1/search`), 400], [await fetch(`${server.url}/v1/search?q=x&order=sideways`), 400],
      [await fetch(`${server.url}/v1/posts/api:absent`), 404], [await fetch(`${server.url}/v1/chat/completions`), 405],
      [await fetch(`${server.url}/%2e%2e/%2e%2e/etc/passwd`), 404],
    ];
    for (const [response, status] of cases) {
      assert.equal(response.status, status, `${response.url}: ${await response.clone().text()}`);
      assert.ok(response.headers.get('x-request-id'), response.url);
      await errorOf(response);
    }
  });

  test('a bad line of posts names the line, and nothing is stored', async () => {
    const before = (await server.json('/v1/status')).store.posts;
    const lines = [JSON.stringify(onePost('good-1', 'A good line.')), '{"text":', JSON.stringify(onePost('good-2', 'Another.'))].join('\n');
    const error = await errorOf(await post('/v1/posts', lines, { 'Content-Type': 'application/x-ndjson' }));
    assert.match(error.message, /line 2/);
    assert.equal((await server.json('/v1/status')).store.posts, before);
  });

  test('pages of other sites cannot use the server', async () => {
    assert.equal((await post('/v1/posts', JSON.stringify(onePost('x', 'x')), { Origin: 'https://evil.example' })).status, 403);
    const status = await new Promise((done, fail) => {
      http.get(`${server.url}/v1/status`, { headers: { Host: 'evil.example' } }, (response) => { response.resume(); done(response.statusCode); }).on('error', fail);
    });
    assert.equal(status, 403);
  });
});

describe('raw sockets', () => {
  /// Sends bytes and returns all that comes back until the server closes, or 2 s.
  const exchange = (bytes) => new Promise((done) => {
    const { hostname, port } = new URL(server.url);
    const socket = net.connect(Number(port), hostname, () => socket.write(bytes));
    let text = '';
    socket.setEncoding('utf8').on('data', (piece) => { text += piece; }).on('error', () => {});
    const timer = setTimeout(() => socket.destroy(), 2000);
    socket.on('close', () => { clearTimeout(timer); done(text); });
  });

  test('requests that proxies and servers could read differently are refused', async () => {
    const body = 'POST /v1/posts HTTP/1.1\r\nHost: 127.0.0.1\r\n';
    for (const request of [
      `${body}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `${body}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde`,
      `${body}Content-Length: -1\r\n\r\n`, `${body}Content-Length: 99999999999999999999\r\n\r\n`,
      'GET / HTTP/1.1\r\n\r\n', 'GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n', 'nonsense\r\n\r\n', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc',
    ]) {
      const answer = await exchange(request);
      assert.ok(answer === '' || /^HTTP\/1\.[01] (4\d\d|5\d\d) /.test(answer), `${JSON.stringify(request)} -> ${answer.slice(0, 80)}`);
    }
    assert.match(await exchange(`GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ${'x'.repeat(200_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /);
    assert.equal((await fetch(`${server.url}/healthz`)).status, 200, 'and the server lives');
  });

  test('two requests in one packet get two answers, in order', async () => {
    const answer = await exchange('GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n');
    assert.equal(answer.split('HTTP/1.1 200 ').length, 3);
    assert.ok(answer.indexOf('"ok"') < answer.indexOf('"fathom"'));
  });
});

describe('the rest of the API', () => {
  test('the page comes with its content policy and is not sent twice', async () => {
    const first = await fetch(`${server.url}/`);
    assert.match(first.headers.get('content-security-policy'), /default-src 'self'/);
    assert.equal(first.headers.get('x-content-type-options'), 'nosniff');
    const again = await fetch(`${server.url}/`, { headers: { 'If-None-Match': first.headers.get('etag') } });
    assert.equal(again.status, 304);
    const head = await fetch(`${server.url}/js/main.js`, { method: 'HEAD' });
    assert.match(head.headers.get('content-type'), /^text\/javascript/);
    assert.equal(await head.text(), '');
  });

  test('search finds what was posted, newest first when asked', async () => {
    const { hits, matched } = await server.json('/v1/search?q=Varnholm&order=newest&limit=3');
    assert.ok(matched >= 4 && hits.length === 3);
    const times = hits.map((hit) => Date.parse(hit.post.created_at));
    assert.deepEqual(times, [...times].sort((a, b) => b - a));
    const none = await server.json('/v1/search?q=zzyzx');
    assert.deepEqual([none.matched, none.hits], [0, []]);
  });

  test('what is posted can be found and heard at once; a reader resumes where it was', async () => {
    const stop = new AbortController();
    const response = await fetch(`${server.url}/v1/feed`, { headers: { Accept: 'text/event-stream' }, signal: stop.signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const { last_sequence: last } = await server.post([onePost('feed-1', 'Heard at once, says the kestrel.')]);
    assert.equal((await server.json('/v1/search?q=kestrel')).matched, 1);
    let text = '';
    while (!text.includes('says the kestrel')) text += (await reader.read()).value;
    assert.match(text, new RegExp(`id: ${last}\nevent: post\n`));
    stop.abort();
    await server.post([onePost('feed-2', 'Missed by the reader.')]);
    const resume = new AbortController();
    const second = await fetch(`${server.url}/v1/feed`, { headers: { Accept: 'text/event-stream', 'Last-Event-ID': String(last) }, signal: resume.signal });
    const resumed = second.body.pipeThrough(new TextDecoderStream()).getReader();
    text = '';
    while (!text.includes('Missed by the reader')) text += (await resumed.read()).value;
    assert.doesNotMatch(text, /kestrel/);
    resume.abort();
  });

  test('a post is replaced and deleted under its key', async () => {
    assert.equal((await server.post([onePost('edit-1', 'First wording about walruses.')])).added, 1);
    assert.equal((await server.post([onePost('edit-1', 'Second wording about narwhals.')])).replaced, 1);
    assert.equal((await server.json('/v1/posts/api:edit-1')).text, 'Second wording about narwhals.');
    assert.equal((await server.json('/v1/search?q=walruses')).matched, 0);
    assert.equal((await server.post([{ ...onePost('edit-1', ''), deleted: true }])).deleted, 1);
    assert.equal((await fetch(`${server.url}/v1/posts/api:edit-1`)).status, 404);
    assert.equal((await server.json('/v1/search?q=narwhals')).matched, 0);
  });

  test('metrics count what happened', async () => {
    const read = async (name) => {
      const text = await (await fetch(`${server.url}/metrics`)).text();
      return text.split('\n').filter((line) => line.startsWith(name)).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    };
    const [posts, answers] = [await read('fathom_posts_ingested_total'), await read('fathom_answers_total')];
    await server.post([onePost('metric-1', 'Counted.')]);
    await server.ask('Which team won in Tarn?');
    assert.equal(await read('fathom_posts_ingested_total'), posts + 1);
    assert.equal(await read('fathom_answers_total'), answers + 1);
    assert.ok(await read('fathom_store_posts') > 0);
  });

  test('readers of the feed are limited, and told when to come back', async () => {
    const agent = new http.Agent({ maxSockets: Infinity });
    const open = () => new Promise((done, fail) => {
      http.get(`${server.url}/v1/feed`, { agent, headers: { Accept: 'text/event-stream' } }, (response) => done(response)).on('error', fail);
    });
    const readers = await Promise.all(Array.from({ length: 260 }, open));
    const refused = readers.filter((response) => response.statusCode === 429);
    assert.ok(refused.length >= 4, `${refused.length} refused`);
    assert.ok(refused.every((response) => Number(response.headers['retry-after']) > 0));
    assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
    for (const response of readers) response.destroy();
    agent.destroy();
  });
});
