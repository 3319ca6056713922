// The page's pure modules, run where they run: in the browser, as the server delivers them.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launch, openPage, skipWithoutChromium } from './browser.mjs';
import { Server } from './server.mjs';

describe('modules', { skip: skipWithoutChromium }, () => {
  let browser;
  let server;
  let page;

  before(async () => {
    [browser, server] = await Promise.all([launch(), Server.start()]);
    page = await openPage(browser, server.url);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test('events: any split of any line ends gives the same events', async () => {
    const results = await page.evaluate(async () => {
      const { EventParser } = await import('/js/sse.js');
      const text = '\ufeffevent: post\r\nid: 7\r\ndata: {"a":\r\ndata: 1}\r\n\r\n: comment\n\ndata:x\n\nid: 8\rdata: \u00e9\u20ac\ud83c\udf0a\r\rdata: unfinished\n';
      const all = [];
      for (let size = 1; size <= text.length; size += 1) {
        const parser = new EventParser();
        const events = [];
        for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
        all.push(JSON.stringify(events));
      }
      return [...new Set(all)];
    });
    assert.deepEqual(results.map((r) => JSON.parse(r)), [[
      { event: 'post', data: '{"a":\n1}', id: '7' }, { event: 'message', data: 'x', id: '7' }, { event: 'message', data: '\u00e9\u20ac\ud83c\udf0a', id: '8' },
    ]]);
  });

  test('offsets: code points to UTF-16', async () => {
    const result = await page.evaluate(async () => {
      const { CodePoints } = await import('/js/text.js');
      const map = (text) => [-1, 0, 1, 2, 3, 99, NaN].map((at) => new CodePoints(text).toIndex(at));
      return [map('abc'), map('a\ud83c\udf0ab')];
    });
    assert.deepEqual(result, [[0, 0, 1, 2, 3, 3, 0], [0, 0, 1, 3, 4, 4, 0]]);
  });

  test('sentences are announced when they are finished, without marks', async () => {
    const result = await page.evaluate(async () => {
      const { finishedLength, spoken } = await import('/js/text.js');
      const cut = (text) => text.slice(0, finishedLength(text));
      return [cut('One. Two'), cut('It fell 2.5 percent'), cut('Said so. [1] Then'), cut('"Yes!" he said'), cut('no end'), spoken('The **gust** was 98 km/h [2].\n- and `more`')];
    });
    assert.deepEqual(result, ['One.', '', 'Said so. [1]', '"Yes!"', '', 'The gust was 98 km/h. and more']);
  });

  test('answer markup: blocks, emphasis and what is none', async () => {
    const result = await page.evaluate(async () => {
      const { parseBlocks, renderBlock } = await import('/js/markdown.js');
      const html = (text, markup = true) => {
        const options = { chips: new Map(), markup, onText: () => {} };
        const box = document.createElement('div');
        box.append(...parseBlocks(text).map((block) => renderBlock(text, block, options)));
        return box.innerHTML.replaceAll(' dir="auto"', '').replaceAll(' tabindex="0"', '');
      };
      return [html('One\nline\n\nTwo'), html('- a\n- **b**\n\n3. c\n4. d'), html('## Head\n> said\n```\n<x> **y**\n```'), html('5 * 3 * 2 and a*b*c and **open'), html('**plain**', false), html(''),
        html('- a\n  *more* of a\n- b\n\n  apart')];
    });
    assert.deepEqual(result, [
      '<p>One</p><p class="tight">line</p><p>Two</p>', '<ul><li>a</li><li><strong>b</strong></li></ul><ol start="3"><li>c</li><li>d</li></ol>',
      '<h3>Head</h3><blockquote>said</blockquote><pre><code>&lt;x&gt; **y**</code></pre>', '<p>5 * 3 * 2 and a*b*c and **open</p>', '<p>**plain**</p>', '',
      '<ul><li>a<br><em>more</em> of a</li><li>b</li></ul><p>  apart</p>',
    ]);
  });

  test('a chip replaces its mark, and the claim can be found again', async () => {
    const result = await page.evaluate(async () => {
      const { inline } = await import('/js/markdown.js');
      const text = 'Gust **98 km/h [1]**, see [2].';
      const chips = new Map([[15, { end: 18, make: () => document.createElement('button') }]]);
      const found = [];
      const nodes = inline(text, 0, text.length, { chips, markup: true, onText: (node, offset) => found.push([offset, node.data]) });
      const box = document.createElement('p');
      box.append(...nodes);
      return [box.innerHTML, found, found.every(([offset, data]) => text.startsWith(data, offset))];
    });
    assert.equal(result[0].replace('\u202f', '_'), 'Gust <strong>98 km/h_<button></button></strong>, see [2].');
    assert.equal(result[2], true);
  });

  test('topics: what several people talk about, not what one repeats', async () => {
    const result = await page.evaluate(async () => {
      const { topTopics, suggestionsFor } = await import('/js/topics.js');
      const post = (handle, text, tags = []) => ({ handle, text, tags });
      const posts = [
        ...['a', 'b', 'c', 'd'].map((handle) => post(handle, 'Waiting for Storm Ilse to pass.', ['StormIlse'])),
        ...['e', 'f', 'g'].map((handle) => post(handle, 'They say Keldan Aerospace moved it. The launch.')),
        ...Array.from({ length: 9 }, () => post('spam', 'Buy at Cheap Watches now', ['watches'])),
      ];
      return [topTopics(posts), suggestionsFor(posts)[0], suggestionsFor([])];
    });
    assert.deepEqual(result, [['#StormIlse', 'Keldan Aerospace'], 'What is going on right now?', []]);
  });

  test('time: by the feed\'s clock', async () => {
    const result = await page.evaluate(async () => {
      const { ago, absolute, FeedClock, parseTime } = await import('/js/time.js');
      const base = Date.parse('2031-05-14T17:32:00Z');
      const clock = new FeedClock();
      const empty = clock.now;
      clock.advance(base);
      clock.advance(base - 1000);
      return [ago(base - 2000, base), ago(base - 180_000, base), ago(base - 7_300_000, base), ago(base + 7_300_000, base), ago(base - 40 * 86_400_000, base),
        absolute(base), empty, clock.now === base, clock.replayed, parseTime('1970-01-01T00:00:00Z'), parseTime('never')];
    });
    assert.deepEqual(result, ['just now', '3 min ago', '2 h ago', 'in 2 h', '5 wk ago', '14 May 2031, 17:32', null, true, true, null, null]);
  });

  test('time: in the zone of the reader, with UTC beside it where answers are checked', async () => {
    const context = await browser.newContext({ timezoneId: 'Europe/Berlin' });
    const other = await context.newPage();
    await other.goto(server.url);
    const result = await other.evaluate(async () => {
      const { absolute } = await import('/js/time.js');
      const time = Date.parse('2031-05-14T22:32:05Z');
      return [absolute(time), absolute(time, { utc: true }), absolute(time, { seconds: true })];
    });
    await context.close();
    assert.deepEqual(result, ['15 May 2031, 00:32', '15 May 2031, 00:32 (22:32 UTC)', '15 May 2031, 00:32:05']);
  });

  test('addresses: http and https only', async () => {
    const result = await page.evaluate(async () => {
      const { safeUrl } = await import('/js/dom.js');
      return ['https://a.example/x', 'http://b.example', 'javascript:alert(1)', 'JAVASCRIPT:alert(1)', 'data:text/html,x', '//c.example', '', null, 'https://'].map((text) => safeUrl(text)?.href ?? null);
    });
    assert.deepEqual(result, ['https://a.example/x', 'http://b.example/', null, null, null, null, null, null, null]);
  });
});
