// Posts and answers that try to run code, to redirect or to wreck the page: shown as text, nothing more.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ask, choose, expectAccessible, expectQuiet, launch, openPage, screenshot, skipWithoutChromium } from './browser.mjs';
import { onePost } from './posts.mjs';
import { Server } from './server.mjs';

const MARKUP = '<img src=x onerror="globalThis.owned=1"><script>globalThis.owned=1</script> storm over Varnholm';
const RTL = '\u202Etxet desrever\u202C and \u2066isolated\u2069 in a storm over Varnholm \u200F\u200E\u061C';
const LONG = `storm over Varnholm ${'Zaqwsx'.repeat(1700)}`;
const STACKED = `storm over Varnholm z${'\u0300\u0301\u0302\u0303\u0304\u0305'.repeat(120)}algo`;
const ARABIC = '\u0639\u0627\u0635\u0641\u0629 \u0641\u0648\u0642 Varnholm storm over \u05E9\u05DC\u05D5\u05DD';

describe('hostile posts', { skip: skipWithoutChromium }, () => {
  let browser;
  let server;

  before(async () => {
    [browser, server] = await Promise.all([launch(), Server.start()]);
    const texts = [MARKUP, RTL, LONG, STACKED, ARABIC];
    await server.post(texts.map((text, i) => onePost(`hostile-${i}`, text, {
      author: { handle: `evil${i}"><b onmouseover=alert(1)>`, name: `\u202Eeman ${'N'.repeat(300)}` },
    })));
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  /// Nothing in the page came out of a post but text.
  async function expectInert(page) {
    const found = await page.evaluate(() => ({
      scripts: [...document.scripts].map((script) => script.getAttribute('src')),
      images: [...document.images].map((image) => image.getAttribute('src')),
      bold: document.querySelectorAll('.post b, .answer b, .card b').length,
      handlers: [...document.querySelectorAll('*')].filter((element) => [...element.attributes].some((a) => a.name.startsWith('on'))).length,
      links: [...document.querySelectorAll('a[href]')].map((a) => new URL(a.href).protocol).filter((p) => p !== 'http:' && p !== 'https:'),
      frames: document.querySelectorAll('iframe, object, embed').length,
      overflow: document.scrollingElement.scrollWidth - innerWidth,
      owned: globalThis.owned ?? null,
    }));
    assert.deepEqual(found.scripts, ['/js/theme.js', '/js/main.js']);
    assert.ok(found.images.every((source) => source === '/icon.svg'), found.images.join());
    assert.deepEqual([found.bold, found.handlers, found.links, found.frames, found.overflow], [0, 0, [], 0, 0]);
    assert.equal(found.owned, null, 'no code of a post ran');
    await expectQuiet(page);
  }

  test('are text in the feed, in answers, in cards and in the sources', async () => {
    const page = await openPage(browser, server.url);
    try {
      await page.locator('.post', { hasText: 'onerror' }).waitFor();
      assert.equal(await page.locator('.post', { hasText: MARKUP.slice(0, 40) }).count(), 1, 'the markup is shown as text');
      const tallest = await page.evaluate(() => Math.max(...[...document.querySelectorAll('.post')].map((post) => post.offsetHeight)));
      assert.ok(tallest < 320, `a post takes ${tallest} px at most`);
      await choose(page, 'writer', 'extract');
      const turn = await ask(page, 'storm over Varnholm');
      for (const chip of await turn.locator('.answer .chip').all()) {
        await chip.click();
        await page.locator('#card').waitFor();
        const box = await page.locator('#card').boundingBox();
        assert.ok(box.width <= 410 && box.height <= 400 && box.x >= 0 && box.y >= 0, JSON.stringify(box));
        await page.keyboard.press('Escape');
      }
      if (await turn.locator('.source-panel').count() > 0) await turn.locator('.source-panel summary').click();
      await screenshot(page, 'hostile');
      await expectAccessible(page, 'hostile posts');
      await expectInert(page);
    } finally {
      await page.context().close();
    }
  });

  test('a hostile server answer cannot do more', async () => {
    const page = await openPage(browser, server.url);
    try {
      const post = { ...onePost('x', MARKUP), key: 'api:x', url: 'javascript:globalThis.owned=1' };
      const text = `[click](javascript:alert(1)) <b>bold</b> **strong** ${MARKUP} [1] [2] [99]`;
      const at = text.indexOf('[1]');
      const two = text.indexOf('[2]');
      const cite = (number, begin, extra) => ({ ...post, number, begin, end: begin + 3, claim_begin: 0, claim_end: begin, passage: '', passage_begin: 0, passage_end: 10, ...extra });
      const citations = [cite(1, at, {}), cite(2, two, { url: 'data:text/html,<script>1</script>', passage_begin: 5e9, passage_end: -1, created_at: 'never' }), cite(7, 0, {})];
      const chunk = (delta, extra = {}, finish = null) => `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }], ...extra })}\n\n`;
      const body = chunk({ role: 'assistant', content: '' }) + chunk({}, { fathom: { step: { query: MARKUP, found: 1, read: 1 } } })
        + chunk({}, { fathom: { read: [post] } }) + chunk({ content: text })
        + chunk({}, { fathom: { as_of: '2026-13-45', writer: '<i>', fiction: true, citations } }, 'stop') + 'data: [DONE]\n\n';
      await page.route('**/v1/chat/completions', (route) => route.fulfill({ status: 200, contentType: 'text/event-stream', body }));
      const turn = await ask(page, MARKUP);
      assert.deepEqual(await turn.locator('.chip').allTextContents(), ['1', '2'], 'only marks that stand in the text become chips');
      await turn.locator('.chip').first().click();
      assert.equal(await page.locator('#card a').count(), 0, 'no link to a javascript: address');
      await page.keyboard.press('Escape');
      assert.match(await turn.locator('.answer').textContent(), /\[click\]\(javascript:alert\(1\)\) <b>bold<\/b> strong/);
      await expectInert(page);
    } finally {
      await page.context().close();
    }
  });

  test('a broken stream is an error, not a blank page', async () => {
    const page = await openPage(browser, server.url);
    try {
      for (const [body, message] of [
        ['data: {"choices":[{"index":0,"delta":{"content":"half"}}]}\n\n', /ended the answer before its end/],
        ['data: {broken\n\n', /broke off/],
        ['data: {"error":{"message":"the model ran out of memory","code":"internal_error"}}\n\n', /the model ran out of memory/],
        ['', /before its end/],
      ]) {
        await page.route('**/v1/chat/completions', (route) => route.fulfill({ status: 200, contentType: 'text/event-stream', body }), { times: 1 });
        const turn = await ask(page, 'anything', { state: 'error' });
        assert.match(await turn.locator('.failure').textContent(), message);
      }
      await expectInert(page);
    } finally {
      await page.context().close();
    }
  });
});
