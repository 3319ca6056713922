// Sources as people configure them: the commands, the file, a running server that takes changes over, and no secret anywhere.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Server, binary } from './server.mjs';

const SECRET = 'tok-3f9a1c77e2-never-shown';

/// Runs the program to its end: {code, out, err}.
function fathom(args, { input = '', env = {} } = {}) {
  const { FATHOM_API_KEY, FATHOM_STATE, ...clean } = process.env;
  const child = spawn(binary, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...clean, ...env } });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text) => { out += text; });
  child.stderr.setEncoding('utf8').on('data', (text) => { err += text; });
  child.stdin.on('error', () => {}).end(input);
  return new Promise((done) => child.once('close', (code) => done({ code, out, err })));
}

async function eventually(condition, what, limit = 20_000) {
  const end = Date.now() + limit;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) assert.fail(`not within ${limit} ms: ${what}`);
    await sleep(50);
  }
}

const item = (id, title) => `<item><guid>${id}</guid><title>${title}</title><link>/${id}</link></item>`;

/// A site with a feed at /feed and a Mastodon server that echoes what it is sent in its refusal.
class Site {
  items = item('a', 'Harbour bridge opens');
  async start() {
    this.server = createServer((request, response) => {
      if (request.url === '/feed') {
        response.writeHead(200, { 'Content-Type': 'application/rss+xml' }).end(`<rss version="2.0"><channel><title>Wire</title>${this.items}</channel></rss>`);
      } else if (request.url.startsWith('/api/')) {
        response.writeHead(500).end(`you sent ${request.headers.authorization}`);
      } else {
        response.writeHead(404).end();
      }
    });
    await new Promise((ready) => this.server.listen(0, '127.0.0.1', ready));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
  }
  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

describe('fathom sources', () => {
  const site = new Site();
  let data;
  before(async () => {
    await site.start();
    data = mkdtempSync(join(tmpdir(), 'fathom-sources-'));
  });
  after(() => {
    site.stop();
    rmSync(data, { recursive: true, force: true });
  });
  const sources = (...args) => fathom(['sources', ...args.slice(0, 1), '--data', data, ...args.slice(1)]);

  for (const command of [[], ['add'], ['test']]) {
    test(`sources ${command} --help has examples`, async () => {
      const { code, out } = await fathom(['sources', ...command, '--help']);
      assert.equal(code, 0);
      assert.match(out, /Examples:\n {2}fathom sources/);
    });
  }

  test('kinds lists every protocol', async () => {
    const { code, out } = await fathom(['sources', 'kinds']);
    assert.equal(code, 0);
    for (const kind of ['x', 'bluesky', 'mastodon', 'rss', 'hackernews', 'nostr', 'file', 'stdin']) assert.match(out, new RegExp(`^${kind}$`, 'm'));
  });

  const bad = {
    'an unknown kind': [['add', 'gopher'], /no kind of source 'gopher'/],
    'an unknown option': [['add', 'hackernews', '--set', 'colour=red'], /'colour'/],
    'a missing option': [['add', 'mastodon'], /needs the option 'host'/],
    'a secret in the open': [['add', 'mastodon:h.example', '--set', `token=${SECRET}`], /secret/],
    'a name that is none': [['add', 'hackernews', '--name', 'My News'], /My News/],
    'a source that is not there': [['remove', 'nothing'], /no source 'nothing'/],
    'an address that is none': [['test', 'rss:nowhere'], /'nowhere'/],
    'a feed that is not there': [['test', 'rss:SITE/none'], /404/],
  };
  for (const [what, [args, sentence]] of Object.entries(bad)) {
    test(`${what} is one sentence and exit code 2`, async () => {
      const { code, err } = await sources(...args.map((arg) => arg.replace('SITE', site.url)));
      assert.equal(code, 2, err);
      assert.match(err, sentence);
      assert.equal(err.trim().split('\n').length, 1, err);
      assert.ok(!err.includes(SECRET));
    });
  }

  test('test connects and shows the first posts, and stores nothing', async () => {
    const { code, out, err } = await sources('test', `rss:${site.url}/feed`, '--posts', '1');
    assert.equal(code, 0, err);
    assert.match(out, /Harbour bridge opens/);
    const piped = await fathom(['sources', 'test', '-', '--data', data], { input: '{"id":"1","author":"a","text":"through the pipe"}\n' });
    assert.match(piped.out, /through the pipe/);
  });

  test('a pipe is served from standard input', async () => {
    const { FATHOM_API_KEY, FATHOM_STATE, ...clean } = process.env;
    const own = mkdtempSync(join(tmpdir(), 'fathom-pipe-'));
    const child = spawn(binary, ['serve', '--port', '0', '--data', own, '--source', '-', '--model', 'none', '--embedding-model', 'none'], { stdio: ['pipe', 'pipe', 'inherit'], env: clean });
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (text) => { out += text; });
    try {
      child.stdin.write('{"id":"1","author":"a","text":"zeppelin sighted"}\n');
      const url = await eventually(() => /ready: (http:\S+?)\/?\n/.exec(out)?.[1], 'the server is ready');
      await eventually(async () => (await (await fetch(`${url}/v1/search?q=zeppelin`)).json()).hits.length === 1, 'the post is found');
    } finally {
      child.stdin.end();
      child.kill('SIGTERM');
      await new Promise((done) => child.once('close', done));
      rmSync(own, { recursive: true, force: true });
    }
  });

  test('a running server takes the file over: added, changed, failed, disabled, removed', async () => {
    const server = await Server.start({ data, source: 'none' });
    try {
      const of = async (name) => (await (await fetch(`${server.url}/v1/status`)).json()).sources.find((source) => source.name === name);
      assert.equal((await sources('add', `rss:${site.url}/feed`, '--name', 'wire', '--set', 'shortest=1', '--set', 'longest=1')).code, 0);
      await eventually(async () => (await of('wire'))?.state === 'live' && (await of('wire')).posts >= 1, 'the feed is live');
      site.items = item('b', 'Tram line extended') + site.items;
      await eventually(async () => (await (await fetch(`${server.url}/v1/search?q=tram`)).json()).hits.length === 1, 'the new entry is found');

      const secret = join(data, 'token');
      writeFileSync(secret, `${SECRET}\n`);
      chmodSync(secret, 0o644);
      assert.equal((await sources('add', `mastodon:${site.url}`, '--name', 'town', '--set', `token=file:${secret}`)).code, 0);
      await eventually(async () => /others may read/.test((await of('town'))?.last_error), 'the open secret is refused');
      chmodSync(secret, 0o600);
      await sources('disable', 'town');
      await eventually(async () => !(await of('town')), 'it is stopped');
      await sources('enable', 'town');
      await eventually(async () => (await of('town'))?.errors?.network >= 1, 'the server that refuses is asked again');

      const listed = await sources('list');
      assert.match(listed.out, /wire +rss +live, \d+ posts/);
      assert.match(listed.out, /town +mastodon +(waiting|connecting)/);
      const status = await (await fetch(`${server.url}/v1/status`)).text();
      const metrics = await (await fetch(`${server.url}/metrics`)).text();
      assert.match(metrics, /fathom_source_live\{source="wire"\} 1/);
      assert.match(metrics, /fathom_source_posts_total\{source="wire"\} \d/);
      assert.match(metrics, /fathom_source_errors_total\{kind="network",source="town"\} \d/);
      const json = await sources('list', '--json');
      const file = readFileSync(join(data, 'sources.toml'), 'utf8');
      for (const text of [status, metrics, listed.out, json.out, file, server.log, server.output]) assert.ok(!text.includes(SECRET));
      assert.match(status, /you sent Bearer \*\*\*/);

      await sources('remove', 'town');
      await eventually(async () => !(await of('town')), 'it is gone');
      assert.doesNotMatch(await (await fetch(`${server.url}/metrics`)).text(), /source="town"/);
      writeFileSync(join(data, 'sources.toml'), 'this is no toml [');
      await eventually(() => /sources go on as they are/.test(server.log), 'the bad file is said');
      assert.equal((await of('wire')).state, 'live');
    } finally {
      await server.stop();
    }
  });
});
