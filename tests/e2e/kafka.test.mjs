// The feed beyond one machine: replicas that take their shares from a real Kafka broker, and are searched as one.

import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Kafka, skipWithoutKafka } from './kafka.mjs';
import { onePost } from './posts.mjs';
import { freshFolder, Server } from './server.mjs';

const BATCH = 500;
const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });
const freePort = () => new Promise((done) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => done(port));
  });
});

const ferries = (from, to) => Array.from({ length: to - from }, (_, i) => onePost(`ferry-${from + i}`, `Ferry number${from + i} left the harbour at berth ${(from + i) % 7}.`));

describe('replicas over Kafka', { skip: skipWithoutKafka }, () => {
  let kafka;
  const replicas = [];

  const options = (index) => ({
    data: replicas[index].data,
    port: replicas[index].port,
    args: ['--broker', `${kafka.address},topic=posts,share=${index + 1}/2`, '--replica', `http://127.0.0.1:${replicas[1 - index].port}`],
  });
  const start = async (index) => { replicas[index].server = await Server.start(options(index)); };
  const held = async (index) => (await replicas[index].server.json('/v1/status')).store.posts;
  const search = (index, words) => replicas[index].server.json(`/v1/search?q=${encodeURIComponent(words)}&fold=false&limit=50`);
  const until = async (what, holds) => {
    for (let tries = 0; !await holds(); tries += 1) {
      assert.ok(tries < 300, `${what}: ${JSON.stringify(await Promise.all([0, 1].map((i) => held(i).catch((e) => e.message))))}`);
      await pause(100);
    }
  };
  const untilHeld = (posts) => until(`${posts} posts held`, async () => await held(0) + await held(1) === posts);

  before(async () => {
    kafka = await Kafka.start({ partitions: 4 });
    for (let i = 0; i < 2; i += 1) replicas.push({ data: freshFolder(), port: await freePort() });
    await start(0);
    await start(1);
  });
  after(async () => {
    for (const replica of replicas) {
      await replica.server?.stop();
      rmSync(replica.data, { recursive: true, force: true });
    }
    await kafka?.stop();
  });

  test('posts go to one replica or the other, and a search at either finds them all', async () => {
    await replicas[0].server.post(ferries(0, BATCH));
    await replicas[1].server.post(ferries(BATCH, 2 * BATCH));
    await untilHeld(2 * BATCH);
    for (const index of [0, 1]) assert.ok(await held(index) > BATCH / 2, `replica ${index} holds ${await held(index)}`);
    for (let n = 0; n < 2 * BATCH; n += 97) {
      for (const index of [0, 1]) {
        const { hits, missing } = await search(index, `number${n}`);
        assert.deepEqual(hits.map((hit) => hit.post.id), [`ferry-${n}`]);
        assert.deepEqual(missing ?? [], []);
        assert.equal((await replicas[index].server.json(`/v1/posts/api:ferry-${n}`)).id, `ferry-${n}`);
      }
    }
    const both = await Promise.all([0, 1].map((index) => search(index, 'harbour berth')));
    assert.equal(both[0].matched, both[1].matched);
  });

  test('edits replace and deletions remove, wherever the post lies', async () => {
    await replicas[1].server.post([onePost('ferry-3', 'Ferry number3 turned back because of fog.'), { ...onePost('ferry-4', ''), deleted: true }]);
    await untilHeld(2 * BATCH - 1);
    await until('the edit', async () => (await search(0, 'number3')).hits[0]?.post.text.includes('fog'));
    assert.deepEqual((await search(0, 'number4')).hits, []);
  });

  test('a replica killed is named, and started again it has caught up, nothing lost and nothing doubled', async () => {
    await replicas[1].server.end('SIGKILL');
    const { missing, hits } = await search(0, 'harbour');
    assert.deepEqual(missing, [`http://127.0.0.1:${replicas[1].port}`]);
    assert.ok(hits.length > 0);
    await replicas[0].server.post(ferries(2 * BATCH, 4 * BATCH));
    await start(1);
    await untilHeld(4 * BATCH - 1);
    await pause(300);
    await untilHeld(4 * BATCH - 1);
    for (let n = 2 * BATCH; n < 4 * BATCH; n += 131) assert.equal((await search(1, `number${n}`)).hits.length, 1);
  });

  test('without a broker nothing is acknowledged, and searches go on; it comes back, and so do posts', async () => {
    await kafka.kill();
    const refused = await fetch(`${replicas[0].server.url}/v1/posts`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-ndjson' },
      body: JSON.stringify(onePost('late-1', 'Ferry latecomer waits for the broker.')),
      signal: AbortSignal.timeout(60_000),
    });
    assert.ok(refused.status >= 500, String(refused.status));
    assert.match((await refused.json()).error.message, /posts.*failed/);
    assert.ok((await search(0, 'harbour')).hits.length > 0);
    await kafka.run();
    await replicas[0].server.post([onePost('late-1', 'Ferry latecomer waits for the broker.')]);
    await untilHeld(4 * BATCH);
    assert.equal((await search(1, 'latecomer')).hits.length, 1);
  });
});
