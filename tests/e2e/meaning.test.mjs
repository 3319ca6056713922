// Searching by meaning, on a server with a real embedding model: posts are found without a word in common, filters hold, deleted
// posts are gone, a restart keeps the vectors, and without a model the words alone answer.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { onePost, townPosts } from './posts.mjs';
import { embedderPath, Server, skipWithoutEmbedder } from './server.mjs';

const search = (server, query) => server.json(`/v1/search?${new URLSearchParams(query)}`);
const ids = (found) => found.hits.map((hit) => hit.post.id);

async function post(server, posts) {
  const answer = await fetch(`${server.url}/v1/posts`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(posts) });
  assert.equal(answer.status, 200, await answer.text());
}

/// The post is found by meaning, which is a moment after it is found by its words.
async function until(holds) {
  for (let i = 0; i < 600; ++i) {
    if (await holds()) return;
    await sleep(100);
  }
  assert.fail('it did not come true within a minute');
}

describe('by meaning', { skip: skipWithoutEmbedder }, () => {
  const data = mkdtempSync(join(tmpdir(), 'fathom-e2e-meaning-'));
  let server;
  before(async () => {
    server = await Server.start({ data, embedding: embedderPath });
    await post(server, townPosts());
    await until(async () => ids(await search(server, { q: 'football result', mode: 'meaning' })).includes('town-6'));
  });
  after(async () => {
    await server?.stop();
    rmSync(data, { recursive: true, force: true });
  });

  test('a post is found without a word in common', async () => {
    const query = { q: 'vessels cannot sail because of strong wind', limit: '3' };
    assert.deepEqual(ids(await search(server, { ...query, mode: 'words' })).filter((id) => id === 'town-1'), []);
    const found = await search(server, { ...query, mode: 'meaning' });
    assert.equal(found.mode, 'meaning');
    assert.ok(ids(found).includes('town-1'), ids(found).join(' '));
    const both = await search(server, query);
    assert.equal(both.mode, 'both');
    assert.ok(both.hits.some((hit) => hit.matched_terms === 0));
  });

  test('filters hold', async () => {
    const found = await search(server, { q: 'storm from:gridnews', mode: 'meaning' });
    assert.deepEqual(ids(found), ['town-7']);
    const without = await search(server, { q: 'storm -ferry -ferries', mode: 'meaning', limit: '50' });
    assert.ok(without.hits.length > 5);
    assert.ok(without.hits.every((hit) => !/ferr(y|ies)/.test(hit.post.text)));
  });

  test('deleted posts are gone at once', async () => {
    await post(server, [onePost('whale', 'A whale was seen close to the beach')]);
    const query = { q: 'large sea mammal near the shore', mode: 'meaning', limit: '1' };
    await until(async () => ids(await search(server, query))[0] === 'whale');
    await post(server, [onePost('whale', '', { deleted: true, created_at: new Date(Date.now() + 1000).toISOString() })]);
    assert.ok(!ids(await search(server, query)).includes('whale'));
  });

  test('an unknown mode is refused', async () => {
    const answer = await fetch(`${server.url}/v1/search?q=a&mode=telepathy`);
    assert.equal(answer.status, 400);
  });

  test('vectors outlive the server; without a model the words answer', async () => {
    await server.stop();
    assert.ok(existsSync(join(data, 'posts', 'vectors', 'posts.vectors')));
    server = await Server.start({ data });
    const found = await search(server, { q: 'harbour' });
    assert.equal(found.mode, 'words');
    assert.ok(found.hits.length > 0);
    assert.equal((await fetch(`${server.url}/v1/search?q=harbour&mode=both`)).status, 404);
  });
});
