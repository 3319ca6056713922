// What was acknowledged is there after any end, and a start is quick.

import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { describe, test } from 'node:test';
import { onePost, townPosts } from './posts.mjs';
import { freshFolder, Server } from './server.mjs';

const BATCH = 40;
const ROUNDS = 4;

async function inFolder(body) {
  const data = freshFolder();
  const running = [];
  const start = async (options = {}) => {
    const server = await Server.start({ data, ...options });
    running.push(server);
    return server;
  };
  try {
    await body(start, data);
  } finally {
    for (const server of running) await server.stop();
    rmSync(data, { recursive: true, force: true });
  }
}

/// Posts batch after batch until the server dies; returns the batches that were acknowledged and those that were not.
async function writeUntilDead(server, name, acknowledged, uncertain) {
  for (let batch = 0; ; batch += 1) {
    const ids = Array.from({ length: BATCH }, (_, i) => `${name}-${batch}-${i}`);
    try {
      await server.post(ids.map((id) => onePost(id, `Post ${id} of the storm.`)));
      acknowledged.push(ids);
    } catch {
      uncertain.push(ids);
      return;
    }
  }
}

/// A figure of /metrics without labels.
async function metric(server, name) {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

async function until(done) {
  for (let tries = 0; tries < 400; tries += 1) {
    if (await done()) return true;
    await new Promise((wait) => { setTimeout(wait, 25); });
  }
  return false;
}

const removal = (id, extra = {}) => ({ ...onePost(id, ''), deleted: true, ...extra });

/// Which of `ids` the server has.
async function present(server, ids) {
  const found = new Set();
  const queue = [...ids];
  const worker = async () => {
    for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
      const response = await fetch(`${server.url}/v1/posts/api:${id}`);
      await response.arrayBuffer();
      if (response.ok) found.add(id);
    }
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  return found;
}

/// A server with these options ends before it is ready, with an exit code and a sentence of its own.
async function expectRefused(options) {
  const outcome = await Server.start(options).catch((error) => error);
  if (outcome instanceof Server) await outcome.stop();
  assert.ok(outcome instanceof Error, 'it should not have started');
  assert.match(outcome.message, /code [1-9]/);
  assert.doesNotMatch(outcome.message, /terminate called|Check failed|Sanitizer/);
}

describe('durability', () => {
  test(`killed in mid-ingest, ${ROUNDS} times: every acknowledged post is there, no batch is there by half`, (t) => inFolder(async (start) => {
    const acknowledged = [];
    let server = await start();
    for (let round = 0; round < ROUNDS; round += 1) {
      const uncertain = [];
      const first = acknowledged.length;
      const writers = [0, 1, 2].map((writer) => writeUntilDead(server, `r${round}w${writer}`, acknowledged, uncertain));
      while (acknowledged.length - first < 6) await new Promise((done) => { setTimeout(done, 5); });
      await new Promise((done) => { setTimeout(done, 37 * round); });
      await server.end('SIGKILL');
      await Promise.all(writers);
      server = await start();
      const ids = acknowledged.slice(first).flat();
      const found = await present(server, ids);
      assert.deepEqual(ids.filter((id) => !found.has(id)), [], `round ${round}: lost of ${ids.length}`);
      for (const batch of uncertain) {
        const { size } = await present(server, batch);
        assert.ok(size === 0 || size === BATCH, `${size} of the ${BATCH} posts of an unacknowledged batch`);
      }
      const { store } = await server.json('/v1/status');
      const least = acknowledged.length * BATCH;
      assert.ok(store.posts >= least, `${store.posts} posts after ${least} were acknowledged`);
      t.diagnostic(`round ${round}: ${ids.length} posts acknowledged before the kill, all there`);
    }
    const { terms } = await server.json('/v1/search?q=storm&limit=1');
    assert.ok(terms[0].posts >= acknowledged.length * BATCH, 'and all are in the index');
  }));

  test(`killed while segments are sealed and merged, ${ROUNDS} times: nothing acknowledged is lost, nothing removed returns`, (t) => inFolder(async (start) => {
    const args = ['--segment-posts', '100'];
    const acknowledged = [];
    const removed = [];
    let server = await start({ args });
    for (let round = 0; round < ROUNDS; round += 1) {
      const first = acknowledged.length;
      const writers = [0, 1, 2].map((writer) => writeUntilDead(server, `s${round}w${writer}`, acknowledged, []));
      while (acknowledged.length - first < 12 + 5 * round) await new Promise((done) => { setTimeout(done, 2); });
      // Of what lies in segments by now, some goes.
      const gone = acknowledged.slice(0, acknowledged.length - 3).map((batch) => batch[round]);
      await server.post(gone.map((id) => removal(id)));
      removed.push(...gone);
      await new Promise((done) => { setTimeout(done, 11 * round); });
      await server.end('SIGKILL');
      await Promise.all(writers);
      server = await start({ args });
      const ids = acknowledged.flat();
      const found = await present(server, ids);
      const away = new Set(removed);
      assert.deepEqual(ids.filter((id) => !away.has(id) && !found.has(id)), [], `round ${round}: lost of ${ids.length}`);
      assert.deepEqual(removed.filter((id) => found.has(id)), [], `round ${round}: removed and there again`);
    }
    assert.ok(await until(async () => await metric(server, 'fathom_store_segments') > 0), 'segments were sealed');
    t.diagnostic(`${acknowledged.length * BATCH} posts, ${removed.length} removed, in ${await metric(server, 'fathom_store_segments')} segments`);
  }));

  test('what was removed stays away when retention has forgotten it, over a kill and when it is sent again', () => inFolder(async (start) => {
    const args = ['--segment-posts', '100', '--keep', '24h'];
    const day = 86_400_000;
    const at = (days) => ({ created_at: new Date(Date.now() - days * day).toISOString() });
    const old = Array.from({ length: 150 }, (_, i) => onePost(`old-${i}`, `An old post, number ${i}.`, at(5)));
    const fresh = Array.from({ length: 400 }, (_, i) => onePost(`fresh-${i}`, `A fresh post, number ${i}.`));
    let server = await start({ args });
    await server.post(old);
    await server.post([removal('old-7', at(4))]);
    for (let i = 0; i < fresh.length; i += 50) await server.post(fresh.slice(i, i + 50));
    assert.ok(await until(async () => (await present(server, ['old-1'])).size === 0), 'the old ones are let go');
    await server.end('SIGKILL');
    server = await start({ args });
    assert.equal((await present(server, fresh.map((post) => post.id))).size, fresh.length);
    await server.post([old[7]]);
    assert.equal((await present(server, ['old-7'])).size, 0);
  }));

  test('asked to end, it ends with 0 at once, readers of the feed or not, and keeps everything', (t) => inFolder(async (start) => {
    const first = await start();
    await first.post(townPosts());
    const before = await first.ask('Who scored the winner for FC Tarn?');
    const reader = await fetch(`${first.url}/v1/feed`, { headers: { Accept: 'text/event-stream' } });
    const drained = reader.text().catch(() => '');
    const { code, signal, milliseconds } = await first.end('SIGTERM');
    await drained;
    assert.deepEqual([code, signal], [0, null], first.log);
    assert.ok(milliseconds < 5000, `${milliseconds} ms`);
    const second = await start();
    const after = await second.ask('Who scored the winner for FC Tarn?');
    assert.equal(after.choices[0].message.content, before.choices[0].message.content);
    assert.match(after.choices[0].message.content, /Okafor/);
    t.diagnostic(`SIGTERM to exit: ${Math.round(milliseconds)} ms; first start: ${Math.round(first.startedIn)} ms; second: ${Math.round(second.startedIn)} ms`);
  }));

  test('two servers side by side know nothing of each other', () => inFolder(async (start) => {
    const one = await start();
    const two = await Server.start();
    try {
      assert.notEqual(one.url, two.url);
      await one.post([onePost('only-here', 'Known to the first one alone: quokka.')]);
      assert.equal((await one.json('/v1/search?q=quokka')).matched, 1);
      assert.equal((await two.json('/v1/search?q=quokka')).matched, 0);
    } finally {
      await two.stop();
    }
  }));

  test('a second server on the same folder, or on a busy port, ends with a sentence', () => inFolder(async (start, data) => {
    const one = await start();
    await expectRefused({ data });
    await expectRefused({ port: new URL(one.url).port });
    await one.post([onePost('still', 'The first one is not disturbed.')]);
    assert.equal((await one.json('/v1/search?q=disturbed')).matched, 1);
  }));
});
