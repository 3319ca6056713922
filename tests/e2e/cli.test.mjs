// The commands as a person types them: help, bad input, and posts from file to search to answer, with and without a server.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Server, binary } from './server.mjs';

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

const post = (id, text, more = {}) => JSON.stringify({
  id, source: 'wire', author: { handle: 'portdesk', name: 'Port Desk' }, text, created_at: '2026-03-02T10:00:00Z', url: `https://wire.example/${id}`, ...more,
});

describe('the commands', () => {
  let folder;
  before(() => { folder = mkdtempSync(join(tmpdir(), 'fathom-cli-')); });
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const command of ['serve', 'chat', 'search', 'ingest', 'models', 'world']) {
    test(`${command} --help has an example`, async () => {
      const { code, out } = await fathom([command, '--help']);
      assert.equal(code, 0);
      assert.match(out, new RegExp(`Examples?:\n(.*\n)*? *.*fathom ${command}`));
    });
  }

  const bad = {
    'an unknown command': [['sing'], /no command 'sing'/],
    'no command': [[], /subcommand is required/],
    'a value out of range': [['search', '--limit', '5000', 'x'], /5000/],
    'an unknown source': [['serve', '--source', 'telegraph'], /telegraph/],
    'fiction beside real posts': [['serve', '--source', 'world', '--source', 'file:x'], /stands alone/],
    'a file that is not there': [['ingest', '/no/such/file'], /\/no\/such\/file/],
    'a model that is no model': [['serve', '--source', 'none', '--port', '0', '--model', binary], /not a sound GGUF/],
    'an address that others reach, without a key': [['serve', '--source', 'none', '--address', '0.0.0.0', '--port', '0'], /API key/],
    'scenarios that are not there': [['world', '--scenarios', '/no/such/folder', '--out', 'x'], /\/no\/such\/folder/],
  };
  for (const [what, [args, sentence]] of Object.entries(bad)) {
    test(`${what} is one sentence and exit code 2`, async () => {
      const state = ['serve', 'ingest', 'search'].includes(args[0]) ? ['--data', join(folder, 'bad')] : [];
      const { code, err } = await fathom([...args, ...state]);
      assert.equal(code, 2, err);
      assert.match(err, sentence);
      assert.equal(err.trim().split('\n').length, 1, err);
    });
  }

  test('posts go from a file to search and to an answer, without a server', async () => {
    const data = join(folder, 'own');
    const file = join(folder, 'posts.ndjson');
    writeFileSync(file, [post('1', 'Ferry service to Skarholm resumes at 14:00, the port authority says.'),
      post('2', 'Lovely morning for a walk.')].join('\n') + '\n');
    const added = await fathom(['ingest', '--data', data, '--json', file]);
    assert.deepEqual([added.code, JSON.parse(added.out).added], [0, 2], added.err);
    const again = await fathom(['ingest', '--data', data, '--json', file]);
    assert.equal(JSON.parse(again.out).duplicates, 2);

    const found = JSON.parse((await fathom(['search', '--data', data, '--json', 'ferry', 'skarholm'])).out);
    assert.equal(found.hits[0].post.id, '1');
    const shown = await fathom(['search', '--data', data]);
    assert.match(shown.out, /@portdesk/);

    const answer = await fathom(['chat', '--data', data, '--writer', 'extract', 'When does the ferry to Skarholm resume?']);
    assert.match(answer.out, /14:00/);
    assert.match(answer.out, /\[1\] @portdesk.*https:\/\/wire\.example\/1/);
    const json = JSON.parse((await fathom(['chat', '--data', data, '--writer', 'extract', '--json', 'When does the ferry to Skarholm resume?'])).out);
    assert.deepEqual(json.citations, ['https://wire.example/1']);
  });

  test('lines that are no posts are named, the rest is kept', async () => {
    const { code, out, err } = await fathom(['ingest', '--data', join(folder, 'lines'), '-'], { input: `${post('7', 'kept')}\nnot a post\n` });
    assert.equal(code, 2);
    assert.match(out, /^1 added/);
    assert.match(err, /line 2/);
  });

  test('the commands find the server that holds the folder, and talk to it', async () => {
    const data = join(folder, 'served');
    const server = await Server.start({ data });
    try {
      const added = await fathom(['ingest', '--data', data, '-'], { input: `${post('9', 'The lighthouse at Vessel Point is dark tonight.')}\n` });
      assert.equal(added.code, 0, added.err);
      const response = await fetch(`${server.url}/v1/search?q=lighthouse`);
      assert.equal((await response.json()).hits.length, 1);
      const talk = await fathom(['chat', '--data', data, '--writer', 'extract'], { input: 'What happened at the lighthouse?\n\n' });
      assert.match(talk.out, /Vessel Point/);
    } finally {
      await server.stop();
    }
  });

  test('escape sequences in posts never reach the terminal', async () => {
    const data = join(folder, 'escape');
    await fathom(['ingest', '--data', data, '-'], { input: `${post('5', 'red \u001b[31malert\u001b]0;owned\u0007 here')}\n` });
    const { out } = await fathom(['search', '--data', data, 'red']);
    assert.match(out, /alert/);
    assert.ok(!/[\u0000-\u0009\u000b-\u001f]/.test(out), JSON.stringify(out));
  });

  test('the sample world is the same for the same seed and other for another', async () => {
    const read = async (seed, name) => {
      const out = join(folder, name);
      const { code, err } = await fathom(['world', '--seed', String(seed), '--out', out]);
      assert.equal(code, 0, err);
      return readFileSync(join(out, 'posts.ndjson'), 'utf8');
    };
    const first = await read(7, 'a');
    assert.ok(first.trim().split('\n').length >= 10_000);
    assert.ok(first.trim().split('\n').every((line) => JSON.parse(line).fiction === true));
    assert.equal(await read(7, 'b'), first);
    assert.notEqual(await read(8, 'c'), first);
  });

  test('models names what is in a folder and what is wrong with it', async () => {
    const empty = await fathom(['models', '--data', join(folder, 'none')]);
    assert.equal(empty.code, 0);
    assert.match(empty.out, /no model/);
    const { code, out } = await fathom(['models', '--json', binary]);
    assert.equal(code, 2);
    assert.match(JSON.parse(out)[0].error, /not a sound GGUF/);
  });
});

describe('serve with a feed', () => {
  test('a file is replayed, and the first lines say so', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fathom-feed-'));
    const file = join(folder, 'posts.ndjson');
    writeFileSync(file, `${post('1', 'The tide gauge at Skarholm reads 2.4 m.')}\n`);
    const server = await Server.start({ source: `file:${file},at-once` });
    try {
      assert.match(server.output, /^Feed: +file$/m);
      for (let tries = 0; tries < 100; ++tries) {
        const { hits } = await (await fetch(`${server.url}/v1/search?q=tide`)).json();
        if (hits.length === 1) return;
        await new Promise((wait) => setTimeout(wait, 100));
      }
      assert.fail('the post of the file was not found within 10 s');
    } finally {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test('Hacker News is followed at the address that is given', async () => {
    const items = { 1: { id: 1, type: 'story', by: 'ada', time: Math.floor(Date.now() / 1000), title: 'A quiet harbour gets a tide gauge', url: 'https://example.org/gauge', score: 7 } };
    const api = createServer((request, response) => {
      const item = /\/item\/(\d+)\.json/.exec(request.url);
      const body = item ? items[item[1]] ?? null
        : request.url.includes('maxitem') ? 1
          : request.url.includes('updates') ? { items: [], profiles: [] }
            : request.url.includes('stories') ? [1] : null;
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify(body));
    });
    await new Promise((ready) => api.listen(0, '127.0.0.1', ready));
    const server = await Server.start({ source: 'auto', args: ['--hackernews-api', `http://127.0.0.1:${api.address().port}/v0`] });
    try {
      assert.match(server.output, /^Feed: +hackernews$/m);
      for (let tries = 0; tries < 150; ++tries) {
        const { hits } = await (await fetch(`${server.url}/v1/search?q=harbour`)).json();
        if (hits.length === 1) return assert.equal(hits[0].post.author.handle, 'ada');
        await new Promise((wait) => setTimeout(wait, 100));
      }
      assert.fail('the story was not found within 15 s');
    } finally {
      await server.stop();
      api.close();
      api.closeAllConnections();
    }
  });
});
