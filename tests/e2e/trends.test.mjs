// Trends, stories and standing queries against a real server: over HTTP, on the page, in the terminal.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { expectAccessible, expectQuiet, launch, openPage, screenshot, skipWithoutChromium } from './browser.mjs';
import { onePost } from './posts.mjs';
import { binary, Server } from './server.mjs';

const MINUTE = 60_000;

/// Twelve people report a closed bridge within a quarter of an hour, among others who talk of nothing in common.
function bridgePosts() {
  const at = (minutes) => new Date(Date.now() - minutes * MINUTE).toISOString();
  const told = Array.from({ length: 12 }, (_, i) => onePost(`bridge-${i}`, `Alder Mill bridge is closed, ${i * 7 + 3} cars wait here.`,
    { author: { handle: `driver${i}` }, created_at: at(14 - i), lang: 'en' }));
  const idle = Array.from({ length: 12 }, (_, i) => onePost(`idle-${i}`, `${'abcdefghijkl'[i].repeat(5)} ${'mnopqrstuvwx'[i].repeat(6)}`,
    { author: { handle: `idle${i}` }, created_at: at(40 - i) }));
  return [...idle, ...told];
}

async function eventually(check, what, limit = 20_000) {
  const end = Date.now() + limit;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Error(`did not come true: ${what}`);
    await new Promise((done) => { setTimeout(done, 50); });
  }
}

async function call(server, path, options = {}) {
  const response = await fetch(server.url + path, options);
  return { status: response.status, body: await response.json() };
}

const sendJson = (server, path, body) => call(server, path,
  { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

/// Reads a stream of events until `enough(events)`.
async function readUntil(server, path, headers, enough) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), 20_000);
  const response = await fetch(server.url + path, { headers: { Accept: 'text/event-stream', ...headers }, signal: abort.signal });
  assert.equal(response.status, 200);
  const events = [];
  let pending = '';
  try {
    for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
      pending += piece;
      const frames = pending.split('\n\n');
      pending = frames.pop();
      for (const frame of frames) {
        const fields = Object.fromEntries(frame.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
        if (fields.event) events.push({ event: fields.event, id: fields.id, data: JSON.parse(fields.data) });
      }
      if (enough(events)) return events;
    }
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
  return events;
}

/// Posts them, and waits until all of them are counted: a picture of the present is made while more come.
async function tellOfTheBridge(server) {
  await server.post(bridgePosts());
  await eventually(async () => (await call(server, '/v1/stories')).body.stories?.[0]?.posts === 12, 'a story of twelve posts');
}

const matches = (events) => events.filter((event) => event.event === 'match');

describe('trends and stories', () => {
  let server;
  before(async () => {
    server = await Server.start();
    await tellOfTheBridge(server);
  });
  after(() => server?.stop());

  test('a story has a headline, its posts and their sources; it can be looked up', async () => {
    const { body } = await eventually(async () => {
      const found = await call(server, '/v1/stories');
      return found.body.stories?.length > 0 ? found : null;
    }, 'a story');
    assert.equal(body.stories.length, 1);
    const [story] = body.stories;
    assert.match(story.headline, /Alder Mill bridge is closed/);
    assert.equal(story.posts, 12);
    assert.equal(story.authors, 12);
    assert.deepEqual(story.sources, [{ source: 'api', posts: 12 }]);
    assert.equal(story.volume.reduce((a, b) => a + b), 12);
    assert.ok(Date.parse(body.as_of) <= Date.now());
    assert.equal(body.sampled, 1);
    const one = await call(server, `/v1/stories/${story.id}`);
    assert.equal(one.status, 200);
    assert.equal(one.body.leading_posts[0].key, story.keys[0]);
    const post = await call(server, `/v1/posts/${encodeURIComponent(story.keys[0])}`);
    assert.equal(post.body.text, story.post.text);
    assert.equal((await call(server, '/v1/stories/st_none')).status, 404);
  });

  test('trends find their posts by their query', async () => {
    const { body } = await call(server, '/v1/trends?limit=5&lang=en');
    assert.ok(body.trends.length > 0);
    assert.ok(body.trends[0].score > 1.5);
    const { body: found } = await call(server, `/v1/search?q=${encodeURIComponent(body.trends[0].query)}&fold=false`);
    assert.equal(found.matched, 12);
    assert.deepEqual((await call(server, '/v1/trends?lang=fr')).body.trends, []);
  });

  test('parameters are checked with a sentence', async () => {
    for (const path of ['/v1/trends?limit=0', '/v1/stories?limit=101', '/v1/trends?limit=many']) {
      const { status, body } = await call(server, path);
      assert.equal(status, 400, path);
      assert.match(body.error.message, /limit must be a whole number between 1 and 100/);
    }
  });

  test('the terminal shows them', async () => {
    const run = (...args) => new Promise((done) => {
      const child = spawn(binary, ['trends', '--data', server.data, ...args]);
      let out = '';
      child.stdout.on('data', (piece) => { out += piece; });
      child.on('exit', (code) => done({ code, out }));
    });
    const stories = await run('--stories');
    assert.equal(stories.code, 0);
    assert.match(stories.out, /Alder Mill bridge is closed.*\n.*12 posts by 12 authors \(api 12\)/);
    const terms = await run('--json');
    assert.ok(JSON.parse(terms.out).trends.length > 0);
  });
});

describe('standing queries', () => {
  let server;
  let hook;
  const deliveries = [];
  let statuses = [];
  before(async () => {
    hook = createServer((request, response) => {
      let body = '';
      request.on('data', (piece) => { body += piece; });
      request.on('end', () => {
        deliveries.push({ headers: request.headers, body });
        response.writeHead(statuses.shift() ?? 200).end('{}');
      });
    });
    await new Promise((done) => { hook.listen(0, '127.0.0.1', done); });
    server = await Server.start({ args: ['--private-webhooks'] });
  });
  after(async () => {
    hook?.close();
    await server?.stop();
  });

  test('events come as posts match, and again from the last one that was seen', async () => {
    const { status, body: query } = await sendJson(server, '/v1/standing', { q: '+lighthouse -test', name: 'lamps' });
    assert.equal(status, 201);
    const reading = readUntil(server, query.events, {}, (events) => matches(events).length === 2);
    await server.post([onePost('l1', 'The lighthouse is lit.'), onePost('l2', 'lighthouse test'), onePost('l3', 'No lamp.')]);
    await server.post([onePost('l4', 'The lighthouse is dark again.')]);
    const seen = matches(await reading);
    assert.deepEqual(seen.map((event) => event.data.post.id), ['l1', 'l4']);
    const again = await readUntil(server, query.events, { 'Last-Event-ID': seen[0].id }, (events) => matches(events).length === 1);
    assert.deepEqual(matches(again).map((event) => event.data.post.id), ['l4']);
    const all = await readUntil(server, `${query.events}?after=0`, {}, (events) => matches(events).length === 2);
    assert.equal(matches(all).length, 2);
    assert.equal((await call(server, `/v1/standing/${query.id}`)).body.matched, 2);
    const ending = readUntil(server, query.events, {}, (events) => events.some((event) => event.event === 'removed'));
    assert.equal((await call(server, `/v1/standing/${query.id}`, { method: 'DELETE' })).status, 200);
    assert.ok((await ending).some((event) => event.event === 'removed'));
    assert.equal((await call(server, `/v1/standing/${query.id}`)).status, 404);
  });

  test('a webhook gets signed deliveries, and those that it refused again', async () => {
    const address = `http://127.0.0.1:${hook.address().port}/hook`;
    statuses = [503];
    const { body: query } = await sendJson(server, '/v1/standing', { q: 'harbour', webhook: address, secret: 'hush' });
    assert.equal(JSON.stringify(query).includes('hush'), false, 'the secret is never shown');
    await server.post([onePost('h1', 'The harbour is open.')]);
    await eventually(() => deliveries.length >= 2, 'a second delivery');
    for (const { headers, body } of deliveries) {
      assert.equal(headers['x-fathom-signature'], `sha256=${createHmac('sha256', 'hush').update(body).digest('hex')}`);
      assert.equal(JSON.parse(body).posts[0].key, 'api:h1');
    }
    assert.equal(deliveries[0].headers['x-fathom-delivery'], deliveries[1].headers['x-fathom-delivery']);
    const shown = await eventually(async () => {
      const { body } = await call(server, `/v1/standing/${query.id}`);
      return body.delivered === 1 ? body : null;
    }, 'delivered');
    assert.equal(shown.last_error, null);
  });

  test('what cannot be kept is refused with a sentence', async () => {
    const refused = [[{}, /q/], [{ q: 'a', webhook: 'ftp://x/' }, /http/], [{ q: 'since:2026-02-01 until:2026-01-01' }, /never match/],
      [{ q: 'a', min_likes: -1 }, /min_likes/], [{ q: 'a', since: 'soon' }, /since must be a time/]];
    for (const [body, message] of refused) {
      const answer = await sendJson(server, '/v1/standing', body);
      assert.equal(answer.status, 400, JSON.stringify(body));
      assert.match(answer.body.error.message, message);
    }
    assert.equal((await call(server, '/v1/standing/sq_none/events')).status, 404);
  });
});

describe('what rises, on the page', { skip: skipWithoutChromium }, () => {
  let browser;
  let server;
  before(async () => {
    [browser, server] = await Promise.all([launch(), Server.start()]);
    await tellOfTheBridge(server);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  for (const theme of ['light', 'dark']) {
    test(`a story stands above the feed with its line, and fills the question (${theme})`, async () => {
      const page = await openPage(browser, server.url, { colorScheme: theme });
      try {
        const story = page.locator('.story', { hasText: 'Alder Mill bridge' });
        await story.waitFor({ timeout: 20_000 });
        assert.ok(await page.locator('.story .sparkline polyline').first().getAttribute('points'));
        assert.match(await page.locator('.story-foot').first().textContent(), /12 posts · 12 authors · /);
        await page.locator('.trend').first().waitFor();
        await expectAccessible(page, `the rising panel, ${theme}`);
        await screenshot(page, `rising-${theme}`);
        await story.click();
        assert.match(await page.inputValue('#question'), /What is the latest on .*Alder Mill/);
        await expectQuiet(page);
      } finally {
        await page.context().close();
      }
    });
  }

  test('it is there on a phone, within the feed', async () => {
    const page = await openPage(browser, server.url, { viewport: { width: 390, height: 844 }, reducedMotion: 'reduce' });
    try {
      await page.click('#feed-toggle');
      await page.locator('.story').first().waitFor({ timeout: 20_000 });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.equal(wide, false, 'nothing is wider than the phone');
      await expectAccessible(page, 'the rising panel on a phone');
      await screenshot(page, 'rising-phone');
    } finally {
      await page.context().close();
    }
  });

  test('an empty feed says what is missing', async () => {
    const empty = await Server.start();
    const page = await openPage(browser, empty.url);
    try {
      await page.locator('#rising-state', { hasText: 'Nothing rises yet' }).waitFor();
      await expectAccessible(page, 'the empty rising panel');
    } finally {
      await page.context().close();
      await empty.stop();
    }
  });
});
