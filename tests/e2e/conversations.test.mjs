// Conversations as people keep them: over restarts and kills, by OpenAI's own client, by the command line, by key; and what is
// deleted is gone from the disk.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import OpenAI, { BadRequestError, NotFoundError } from 'openai';
import { townPosts } from './posts.mjs';
import { binary, freshFolder, Server } from './server.mjs';

const GUST = 'How strong was the strongest gust at the north mole in Varnholm harbour?';
const run = (data, ...args) => {
  const { FATHOM_API_KEY, FATHOM_STATE, ...env } = process.env;
  return spawnSync(binary, [...args, '--data', data], { encoding: 'utf8', env });
};
const client = (server, apiKey = 'any') => new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 });
const ask = (server, extra) => server.json('/v1/chat/completions', {
  method: 'POST', headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({ model: 'fathom-extract', messages: [{ role: 'user', content: GUST }], ...extra }),
});
const itemsOf = async (server, id) => (await server.json(`/v1/conversations/${id}/items?order=asc&limit=100`)).data;

/// Names of the files under `folder` in which `text` stands.
const filesWith = (folder, text) => readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && readFileSync(join(entry.parentPath ?? entry.path, entry.name)).includes(text))
  .map((entry) => entry.name);

describe('conversations', () => {
  let data, server;
  before(async () => {
    data = freshFolder();
    server = await Server.start({ data });
    await server.post(townPosts());
  });
  after(async () => {
    await server?.stop();
    rmSync(data, { recursive: true, force: true });
  });

  test('an answer is kept as it was, over a kill', async () => {
    const answer = await ask(server, { conversation: 'new' });
    const { id, items } = answer.conversation;
    assert.equal(items.length, 2);
    await server.end('SIGKILL');
    server = await Server.start({ data });
    const kept = await itemsOf(server, id);
    assert.deepEqual(kept.map((item) => item.id), items);
    assert.equal(kept[0].content[0].text, GUST);
    assert.equal(kept[1].content[0].text, answer.choices[0].message.content);
    assert.deepEqual(kept[1].fathom.citations, answer.fathom.citations);
    assert.deepEqual(kept[1].fathom.read, answer.fathom.read);
    assert.equal(kept[1].fathom.as_of, answer.fathom.as_of);
    const listed = await server.json('/v1/conversations');
    assert.equal(listed.data[0].id, id);
    assert.equal(listed.data[0].title, GUST);
    assert.equal(listed.data[0].turns, 1);
  });

  test('a stream tells with its end where it is kept', async () => {
    const { id } = await client(server).conversations.create();
    const stream = await client(server).chat.completions.create({
      model: 'fathom-extract', stream: true, messages: [{ role: 'user', content: GUST }], conversation: id,
    });
    const told = [];
    for await (const chunk of stream) if (chunk.conversation) told.push(chunk.conversation);
    assert.equal(told.length, 1);
    assert.equal(told[0].id, id);
    assert.deepEqual((await itemsOf(server, id)).map((item) => item.id), told[0].items);
  });

  test("OpenAI's client makes, changes, reads and deletes them", async () => {
    const { conversations } = client(server);
    const made = await conversations.create({ metadata: { topic: 'demo' }, items: [{ type: 'message', role: 'user', content: 'Hello!' }] });
    assert.equal(made.object, 'conversation');
    assert.deepEqual((await conversations.retrieve(made.id)).metadata, { topic: 'demo' });
    assert.deepEqual((await conversations.update(made.id, { metadata: { topic: 'other' } })).metadata, { topic: 'other' });
    const words = Array.from({ length: 25 }, (_, i) => ({ type: 'message', role: i % 2 ? 'user' : 'assistant', content: `Message ${i}` }));
    const added = await conversations.items.create(made.id, { items: words });
    assert.equal(added.data.length, 25);
    const texts = [];
    for await (const item of conversations.items.list(made.id, { limit: 10, order: 'asc' })) texts.push(item.content[0].text);
    assert.deepEqual(texts, ['Hello!', ...words.map((item) => item.content)]);
    const one = await conversations.items.retrieve(added.first_id, { conversation_id: made.id });
    assert.equal(one.content[0].text, 'Message 0');
    assert.equal((await conversations.items.delete(added.first_id, { conversation_id: made.id })).id, made.id);
    await assert.rejects(conversations.items.retrieve(added.first_id, { conversation_id: made.id }), NotFoundError);
    assert.deepEqual(await conversations.delete(made.id), { id: made.id, object: 'conversation.deleted', deleted: true });
    await assert.rejects(conversations.retrieve(made.id), (error) => error instanceof NotFoundError && error.code === 'conversation_not_found');
  });

  test('a response goes on with a conversation and is kept in it', async () => {
    const openai = client(server);
    const { id } = await openai.conversations.create();
    const first = await openai.responses.create({ model: 'fathom-extract', input: GUST, conversation: id });
    assert.equal(first.conversation.id, id);
    const stream = openai.responses.stream({ model: 'fathom-extract', input: 'And is the harbour open?', conversation: { id } });
    for await (const event of stream) assert.ok(event.type);
    const second = await stream.finalResponse();
    const kept = await itemsOf(server, id);
    assert.deepEqual(kept.map((item) => item.role), ['user', 'assistant', 'user', 'assistant']);
    assert.equal(kept[1].content[0].text, first.output_text);
    assert.equal(kept[3].content[0].text, second.output_text);
    assert.ok(kept[1].fathom.citations.length > 0);
    await assert.rejects(openai.responses.create({ model: 'fathom-extract', input: GUST, conversation: id, previous_response_id: first.id }),
      (error) => error instanceof BadRequestError && error.code === 'mutually_exclusive_parameters');
    await assert.rejects(openai.responses.create({ model: 'fathom-extract', input: GUST, conversation: 'conv_none' }), NotFoundError);
  });

  test('the members of "fathom" are checked', async () => {
    const wrong = { mode: 'shout', post: 'api:1', style: '../x', rounds: 3, think: 'yes', planner: 'me', colour: 'red' };
    for (const [name, value] of Object.entries(wrong)) {
      await assert.rejects(ask(server, { fathom: { [name]: value } }), (error) => /: 400 /.test(error.message) && error.message.includes(`fathom.${name}`), name);
    }
    await assert.rejects(ask(server, { fathom: { mode: 'explain' } }), /fathom\.post is missing/);
    await assert.rejects(ask(server, { fathom: { mode: 'explain', post: 'api:none' } }), /: 404 .*post_not_found/s);
  });

  test('found by words, shown, exported and deleted from the command line', async () => {
    const { id } = (await ask(server, { conversation: 'new' })).conversation;
    await client(server).conversations.items.create(id, { items: [{ type: 'message', role: 'user', content: 'The zeppelin club says thank you.' }] });
    const found = run(data, 'conversations', 'search', 'zeppelin', 'GUSTS', '--json');
    assert.equal(found.status, 0, found.stderr);
    assert.deepEqual(JSON.parse(found.stdout).map((one) => one.id), [id]);
    assert.match(JSON.parse(found.stdout)[0].snippet, /zeppelin/);
    assert.match(run(data, 'conversations', 'list').stdout, new RegExp(id));
    const file = join(data, 'kept.md');
    assert.equal(run(data, 'conversations', 'export', id, '--out', file).status, 0);
    const markdown = readFileSync(file, 'utf8');
    assert.match(markdown, /^# How strong was/);
    assert.match(markdown, /\[\\\[1\\\]\]\(<https:\/\/posts\.example\.org\//);
    assert.match(markdown, /^1\. \[@\w+\]\(<https:\/\/posts\.example\.org\/[^>]+>\), 20/m);
    const whole = JSON.parse(run(data, 'conversations', 'export', id, '--format', 'json').stdout);
    assert.equal(whole.items.length, 3);
    assert.match(run(data, 'conversations', 'show', id).stdout, /zeppelin/);
    const gone = run(data, 'conversations', 'delete', id);
    assert.equal(gone.status, 0, gone.stderr);
    assert.notEqual(run(data, 'conversations', 'show', id).status, 0);
    assert.deepEqual(JSON.parse(run(data, 'conversations', 'search', 'zeppelin', '--json').stdout), []);
    assert.deepEqual(filesWith(join(data, 'conversations'), 'zeppelin'), []);
  });

  test('fathom chat goes on with one', async () => {
    const first = run(data, 'chat', '--conversation', 'new', '--json', '--writer', 'extract', GUST);
    assert.equal(first.status, 0, first.stderr);
    const { id } = JSON.parse(first.stdout).conversation;
    const second = run(data, 'chat', '--conversation', id, '--writer', 'extract', 'Is the harbour open?');
    assert.equal(second.status, 0, second.stderr);
    assert.deepEqual((await itemsOf(server, id)).map((item) => item.role), ['user', 'assistant', 'user', 'assistant']);
  });

  test('deleted ones are gone from the disk, all of them too', async () => {
    const secret = 'obsidianlantern9';
    const { id } = (await ask(server, { conversation: 'new', messages: [{ role: 'user', content: `${GUST} ${secret}` }] })).conversation;
    const folder = join(data, 'conversations');
    assert.notDeepEqual(filesWith(folder, secret), []);
    await server.json(`/v1/conversations/${id}`, { method: 'DELETE' });
    assert.deepEqual(filesWith(folder, secret), []);
    assert.notDeepEqual(filesWith(folder, 'north mole'), []);
    const { deleted } = await server.json('/v1/conversations', { method: 'DELETE' });
    assert.ok(deleted > 1);
    assert.deepEqual(filesWith(folder, 'north mole'), []);
    assert.deepEqual((await server.json('/v1/conversations')).data, []);
  });

  test('two keys see their own', async () => {
    const folder = freshFolder();
    const keys = Object.fromEntries(['ada', 'bob'].map((name) => [name, run(folder, 'keys', 'add', name).stdout.trim()]));
    const closed = await Server.start({ data: folder });
    try {
      const [ada, bob] = [client(closed, keys.ada), client(closed, keys.bob)];
      const { id } = await ada.conversations.create({ items: [{ type: 'message', role: 'user', content: 'Plans for a picnic' }] });
      await assert.rejects(bob.conversations.retrieve(id), NotFoundError);
      await assert.rejects(bob.conversations.items.list(id), NotFoundError);
      await assert.rejects(bob.conversations.delete(id), NotFoundError);
      await assert.rejects(bob.responses.create({ model: 'fathom-extract', input: 'x', conversation: id }), NotFoundError);
      assert.deepEqual((await bob.get('/conversations')).data, []);
      assert.equal((await bob.delete('/conversations')).deleted, 0);
      assert.equal((await ada.get('/conversations?q=picnic plans')).data.length, 1);
      assert.equal((await fetch(`${closed.url}/v1/conversations`)).status, 401);
    } finally {
      await closed.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test('a damaged store is told, and the rest goes on', async () => {
    await server.end('SIGTERM');
    const folder = join(data, 'conversations');
    for (const name of readdirSync(folder)) if (name.startsWith('MANIFEST-')) writeFileSync(join(folder, name), 'no manifest');
    server = await Server.start({ data });
    const { conversations } = await server.json('/v1/status');
    assert.equal(conversations.kept, false);
    assert.match(conversations.problem, /damaged/);
    assert.equal((await fetch(`${server.url}/v1/conversations`)).status, 404);
    assert.match((await ask(server)).choices[0].message.content, /98 km\/h/);
  });
});
