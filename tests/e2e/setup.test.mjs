// The first run through the API: a source at once, the sample world and back, a model fetched and used.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { binary, freshFolder, modelPath, Server, skipWithoutModel } from './server.mjs';

const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

/// Polls until `holds` says yes; a server that starts anew refuses requests, then connections, meanwhile.
async function until(what, holds) {
  for (const end = performance.now() + 30_000; ; await pause(100)) {
    try {
      const found = await holds();
      if (found) return found;
    } catch (error) {
      if (!(error instanceof TypeError) && error.status !== 503) throw error;
    }
    assert.ok(performance.now() < end, `${what} within 30 s`);
  }
}

const order = (server, body, headers = {}) => fetch(`${server.url}/v1/setup`, {
  method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(body),
});
const offer = async (server, id) => (await server.json('/v1/setup')).offers.find((one) => one.id === id);

const FEED = `<?xml version="1.0"?><rss version="2.0"><channel><title>Town news</title><link>https://news.example.org/</link>
<item><title>The lighthouse of Varnholm opens to visitors</title><guid>https://news.example.org/1</guid>
<link>https://news.example.org/1</link><pubDate>${new Date().toUTCString()}</pubDate></item></channel></rss>`;

async function withServer(options, body) {
  const data = freshFolder();
  let server;
  try {
    server = await Server.start({ data, ...options });
    await body(server, data);
  } finally {
    await server?.stop();
    rmSync(data, { recursive: true, force: true });
  }
}

async function listening(handler, body) {
  const http = createServer(handler);
  await new Promise((done) => http.listen(0, '127.0.0.1', done));
  try {
    await body(`http://127.0.0.1:${http.address().port}`);
  } finally {
    http.closeAllConnections();
    http.close();
  }
}

describe('setup', () => {
  test('says what there is and what could be', () => withServer({}, async (server) => {
    const setup = await server.json('/v1/setup');
    assert.equal(setup.posts, 0);
    assert.equal(setup.may_change, true);
    assert.equal(setup.model, null);
    for (const id of ['sample_world', 'hackernews', 'bluesky', 'mastodon', 'rss', 'model:smollm2-135m']) {
      const one = setup.offers.find((offered) => offered.id === id);
      assert.ok(one?.title && one.description, id);
      assert.equal(one.installed, false);
    }
    assert.equal(setup.offers.find((one) => one.id === 'rss').needs, 'address');
    assert.equal((await order(server, { id: 'telepathy' })).status, 404);
    assert.equal((await order(server, { id: 'rss' })).status, 400);
    assert.equal((await order(server, { id: 'rss', address: 'https://a.example/', options: { colour: 'red' } })).status, 400);
    assert.equal((await order(server, {})).status, 400);
  }));

  test('a source is read at once, and removed', () => listening((request, response) => {
    response.writeHead(200, { 'Content-Type': 'application/rss+xml' }).end(FEED);
  }, (url) => withServer({}, async (server, data) => {
    const added = await order(server, { id: 'rss', address: `${url}/feed.xml`, name: 'town' });
    assert.equal(added.status, 201, await added.clone().text());
    assert.equal((await added.json()).effect, 'now');
    await until('the post', async () => (await server.json('/v1/search?q=lighthouse')).results?.length > 0
      || (await server.json('/v1/setup')).posts > 0);
    const source = (await server.json('/v1/setup')).sources.find((one) => one.name === 'town');
    assert.equal(source.removable, true);
    assert.match(readFileSync(join(data, 'sources.toml'), 'utf8'), /town/);
    assert.equal((await order(server, { id: 'rss', address: `${url}/feed.xml`, name: 'town' })).status, 400);
    const removed = await fetch(`${server.url}/v1/setup/sources/town`, { method: 'DELETE' });
    assert.equal(removed.status, 200);
    assert.deepEqual((await server.json('/v1/setup')).sources, []);
    assert.equal((await fetch(`${server.url}/v1/setup/sources/town`, { method: 'DELETE' })).status, 404);
  })));

  test('the sample world and back, on the same address', () => listening((request, response) => {
    response.writeHead(200, { 'Content-Type': 'application/rss+xml' }).end(FEED);
  }, (url) => withServer({}, async (server) => {
    const kept = await server.json('/v1/conversations', { method: 'POST' });
    const played = await order(server, { id: 'sample_world' });
    assert.equal(played.status, 202);
    assert.equal((await played.json()).effect, 'restart');
    const world = await until('the sample world', async () => {
      const setup = await server.json('/v1/setup');
      return setup.fiction && setup.posts > 0 && setup;
    });
    assert.equal(world.offers.find((one) => one.id === 'sample_world').installed, true);
    assert.equal((await server.json('/v1/conversations')).data[0].id, kept.id);
    assert.equal((await order(server, { id: 'rss', address: `${url}/feed.xml` })).status, 202);
    await until('the real feed', async () => {
      const setup = await server.json('/v1/setup');
      return !setup.fiction && setup.posts === 1;
    });
    assert.equal((await server.end('SIGTERM')).code, 0);
  })));

  test('only an admin changes anything', () => withServer({}, async (server, data) => {
    const key = spawnSync(binary, ['keys', 'add', 'reader', '--data', data], { encoding: 'utf8' }).stdout.trim();
    await pause(1500);  // until the server has read the keys
    const headers = { Authorization: `Bearer ${key}` };
    assert.equal((await server.json('/v1/setup', { headers })).may_change, false);
    assert.equal((await order(server, { id: 'sample_world' }, headers)).status, 403);
    assert.equal((await fetch(`${server.url}/v1/setup/sources/x`, { method: 'DELETE', headers })).status, 403);
  }));

  test('a model is fetched with progress, and used', { skip: skipWithoutModel }, () => {
    const bytes = readFileSync(modelPath);
    const sum = createHash('sha256').update(bytes).digest('hex');
    let goOn;
    const halfway = new Promise((done) => { goOn = done; });
    return listening(async (request, response) => {
      if (request.url.startsWith('/api/models/bartowski/SmolLM2-135M-Instruct-GGUF/revision/main')) {
        return response.end(JSON.stringify({
          sha: 'a'.repeat(40), siblings: [{ rfilename: 'SmolLM2-135M-Instruct-Q4_K_M.gguf', size: bytes.length, lfs: { sha256: sum, size: bytes.length } }],
        }));
      }
      if (!request.url.endsWith('.gguf')) return response.writeHead(404).end();
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(bytes.subarray(0, bytes.length / 2));
      await halfway;
      return response.end(bytes.subarray(bytes.length / 2));
    }, (url) => withServer({ model: 'auto', env: { HF_ENDPOINT: url } }, async (server) => {
      assert.equal((await server.json('/v1/setup')).model, null);
      assert.equal((await (await order(server, { id: 'model:smollm2-135m' })).json()).effect, 'when_fetched');
      await until('progress', async () => (await offer(server, 'model:smollm2-135m')).progress?.done > 0);
      assert.equal((await offer(server, 'model:smollm2-135m')).state, 'fetching');
      assert.equal((await order(server, { id: 'model:smollm2-1.7b' })).status, 409);
      goOn();
      const setup = await until('the model', async () => {
        const found = await server.json('/v1/setup');
        return found.model && found;
      });
      const model = setup.offers.find((one) => one.id === 'model:smollm2-135m');
      assert.equal(model.installed, true);
      assert.equal(model.restart, false);
    }));
  });

  test('what cannot be fetched says why', () => listening((request, response) => response.writeHead(404).end(), (url) =>
    withServer({ env: { HF_ENDPOINT: url } }, async (server) => {
      await order(server, { id: 'model:smollm2-135m' });
      const failed = await until('the failure', async () => {
        const found = await offer(server, 'model:smollm2-135m');
        return found.state === 'failed' && found;
      });
      assert.ok(failed.progress.error.length > 10);
      assert.equal((await order(server, { id: 'model:smollm2-135m' })).status, 202);
    })));
});
