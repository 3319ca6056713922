// The first run, the settings, the modes and the keyboard of the page.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ask, choose, expectAccessible, expectQuiet, launch, openPage, screenshot, skipWithoutChromium } from './browser.mjs';
import { onePost, townPosts } from './posts.mjs';
import { Proxy } from './proxy.mjs';
import { Server } from './server.mjs';

const GUST = 'How strong was the strongest gust at the north mole in Varnholm harbour?';
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

/// A streamed answer of these chunks, as the server writes them.
const streamOf = (chunks) => `${chunks.map((chunk) => `data: ${JSON.stringify({ object: 'chat.completion.chunk', ...chunk })}\n\n`).join('')}data: [DONE]\n\n`;
const delta = (piece, fathom) => ({ choices: [{ index: 0, delta: piece, finish_reason: null }], ...(fathom ? { fathom } : {}) });

describe('settings and modes', { skip: skipWithoutChromium }, () => {
  let browser;
  let server;
  before(async () => {
    [browser, server] = await Promise.all([launch(), Server.start()]);
    await server.post(townPosts());
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  async function onPage(options, body) {
    const page = await openPage(browser, options?.url ?? server.url, options);
    try {
      await body(page);
    } finally {
      await page.context().close();
    }
  }

  test('first run: the sample world is one click away', async () => {
    const fresh = await Server.start({ source: 'none' });
    try {
      await onPage({ url: fresh.url }, async (page) => {
        const offer = page.locator('#first-run .offer[data-id=sample_world]');
        await offer.waitFor();
        assert.ok(await page.locator('#first-run .offer').count() >= 5, 'sources and models are offered');
        await expectAccessible(page, 'the first run');
        await screenshot(page, 'first-run');
        await page.emulateMedia({ colorScheme: 'dark' });
        await expectAccessible(page, 'the first run in the dark');
        await screenshot(page, 'first-run-dark');
        await offer.getByRole('button', { name: /Add/ }).click();
        await page.locator('.post').first().waitFor({ timeout: 30_000 });
        await page.locator('#first-run').waitFor({ state: 'hidden', timeout: 15_000 });
        await page.waitForSelector('.suggestion');
        assert.equal(await page.locator('#fiction-label').isVisible(), true, 'fiction is called fiction');
      });
    } finally {
      await fresh.stop();
    }
  });

  test('first run on a phone', async () => {
    const fresh = await Server.start({ source: 'none' });
    try {
      await onPage({ url: fresh.url, ...PHONE }, async (page) => {
        await page.locator('#first-run .offer').first().waitFor();
        assert.equal(await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth), 0);
        await expectAccessible(page, 'the first run on a phone');
        await screenshot(page, 'first-run-phone');
        await expectQuiet(page);
      });
    } finally {
      await fresh.stop();
    }
  });

  test('a source is added and removed in the settings, and errors are said there', async () => {
    const own = await Server.start({ source: 'none' });
    try {
      await own.post(townPosts());
      await onPage({ url: own.url }, async (page) => {
        await page.click('#settings-toggle');
        await page.click('#tab-sources');
        const rss = page.locator('#pane-sources .offer[data-id=rss]');
        await rss.waitFor();
        await rss.locator('input').fill('no address at all');
        await rss.getByRole('button').click();
        await rss.locator('.offer-said.failed').waitFor();
        await expectAccessible(page, 'a source that cannot be added');
        await screenshot(page, 'settings-sources');
        await page.locator('#pane-sources .offer[data-id=sample_world]').getByRole('button').click();
        const source = page.locator('.source-states li', { hasText: 'Sample world' });
        await source.waitFor({ timeout: 30_000 });
        await source.getByRole('button', { name: /Remove/ }).click();
        await page.click('#confirm-yes');
        await source.waitFor({ state: 'hidden', timeout: 30_000 });
      });
    } finally {
      await own.stop();
    }
  });

  for (const colorScheme of ['light', 'dark']) {
    test(`every pane is clean and says what it does (${colorScheme})`, () => onPage({ colorScheme }, async (page) => {
      await page.click('#settings-toggle');
      for (const name of ['answers', 'sources', 'model', 'page']) {
        await page.click(`#tab-${name}`);
        await page.locator(`#pane-${name}`).waitFor();
        await expectAccessible(page, `settings: ${name} (${colorScheme})`);
        await screenshot(page, `settings-${name}-${colorScheme}`);
      }
      await page.locator('#tab-page').press('ArrowDown');
      assert.equal(await page.locator('#tab-answers').getAttribute('aria-selected'), 'true');
      await page.click('#tab-page');
      await page.selectOption('#theme', colorScheme === 'dark' ? 'light' : 'dark');
      assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), colorScheme === 'dark' ? 'light' : 'dark');
      await expectQuiet(page);
    }));
  }

  test('settings on a phone', () => onPage(PHONE, async (page) => {
    await page.tap('#settings-toggle');
    await page.tap('#tab-sources');
    assert.equal(await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth), 0);
    await expectAccessible(page, 'the settings on a phone');
    await screenshot(page, 'settings-phone');
    await expectQuiet(page);
  }));

  test('style, window and mode go along with the question, and are remembered', async () => {
    const proxy = await Proxy.start(server.url);
    try {
      await onPage({ url: proxy.url }, async (page) => {
        await choose(page, 'writer', 'extract');
        await choose(page, 'window', '7');
        await page.waitForFunction(() => document.querySelectorAll('#style option').length > 1);
        await choose(page, 'style', 'brief');
        assert.equal(await page.locator('#options-text').textContent(), 'Quote the posts, Brief, The last 7 days');
        await page.check('#modes [value=digest]', { force: true });
        await ask(page, 'What happened today?');
        const [body] = proxy.chatBodies;
        assert.equal(body.model, 'fathom-extract');
        assert.deepEqual(body.fathom, { mode: 'digest', style: 'brief' });
        assert.match(body.search_parameters.from_date, /^\d{4}-\d\d-\d\d$/);
        assert.match(await page.locator('.mode-name').textContent(), /Digest/);
        await screenshot(page, 'digest');
        await expectAccessible(page, 'a digest');
        await page.reload();
        assert.equal(await page.locator('#modes :checked').inputValue(), 'digest');
        assert.match(await page.locator('#options-text').textContent(), /Quote the posts/);
        await expectQuiet(page);
      });
    } finally {
      await proxy.stop();
    }
  });

  test('a post of the feed is explained with one click, from its citation too', async () => {
    const proxy = await Proxy.start(server.url);
    try {
      await onPage({ url: proxy.url }, async (page) => {
        await choose(page, 'writer', 'extract');
        const item = page.locator('.post', { hasText: 'Correction: the strongest gust' });
        await item.getByRole('button', { name: 'Explain (post of @coastguard_north)' }).click();
        await page.waitForSelector('.turn[data-state=done]');
        assert.deepEqual(proxy.chatBodies[0].fathom, { mode: 'explain', post: 'api:town-3' });
        assert.match(await page.locator('.explained').textContent(), /@coastguard_north[\s\S]*98 km\/h/);
        assert.ok((await page.locator('.answer').textContent()).trim().length > 10);
        await expectAccessible(page, 'a post explained');
        await screenshot(page, 'explain');
        await page.locator('.again').click();
        await page.waitForFunction(() => document.querySelectorAll('.turn[data-state=done]').length === 1);
        assert.equal(proxy.chatBodies.at(-1).fathom.mode, 'explain');
        await expectQuiet(page);
      });
    } finally {
      await proxy.stop();
    }
  });

  test('a deep answer shows its plan, its searches and its thoughts, folded when it is done', () => onPage({}, async (page) => {
    const plan = ['What was measured?', 'Who measured it?'];
    const step = (question, query, tool = 'search_posts') => delta({}, { step: { tool, query, question, found: 9, read: 4 } });
    const text = '## Measured\nThe gust was **98 km/h**.\n';
    await page.route('**/v1/chat/completions', (route) => route.fulfill({ status: 200, contentType: 'text/event-stream', body: streamOf([
      delta({ role: 'assistant', content: '' }), delta({}, { plan: plan.slice(0, 1) }), step(plan[0], 'gust mole'), delta({}, { plan }), step(plan[1], 'api:town-3', 'get_thread'),
      delta({ reasoning_content: 'Two figures disagree. <b>Careful</b>.' }), delta({ content: text }),
      { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], fathom: { as_of: '2026-11-23T12:00:00Z', writer: 'generate', plan } },
    ]) }));
    await page.check('#modes [value=deep]', { force: true });
    const turn = await ask(page, GUST);
    assert.match(await turn.locator('.steps summary').textContent(), /2 questions, 2 searches: 8 posts read/);
    await turn.locator('.steps summary').click();
    assert.deepEqual(await turn.locator('.plan bdi').allTextContents(), ['What was measured?', 'gust mole', 'Who measured it?', 'api:town-3']);
    assert.equal(await turn.locator('.thought-text').isVisible(), false, 'thoughts are folded');
    await turn.locator('.thought summary').click();
    assert.equal(await turn.locator('.thought-text').textContent(), 'Two figures disagree. <b>Careful</b>.');
    assert.equal(await turn.locator('.answer h3').textContent(), 'Measured');
    await expectAccessible(page, 'a deep answer');
    await screenshot(page, 'deep');
  }));

  test('shortcuts: one key each, listed by ?, and turned off in the settings', () => onPage({}, async (page) => {
    await choose(page, 'writer', 'extract');
    await ask(page, GUST);
    const blur = () => page.evaluate(() => document.activeElement.blur());
    await blur();
    await page.keyboard.press('?');
    await page.locator('#help').waitFor();
    await expectAccessible(page, 'the list of shortcuts');
    await screenshot(page, 'help');
    await page.keyboard.press('Escape');
    await blur();
    await page.keyboard.press('h');
    assert.equal(await page.locator('#history').isVisible(), true);
    await page.keyboard.press('f');
    assert.equal(await page.locator('#feed').isVisible(), false);
    await page.keyboard.press('e');
    assert.match(await page.evaluate(() => document.activeElement.className), /edit-field/);
    await page.keyboard.press('Escape');
    await blur();
    await page.keyboard.press('n');
    assert.equal(await page.locator('.turn').count(), 0);
    await blur();
    await page.keyboard.press(',');
    await page.click('#tab-page');
    await page.uncheck('#shortcuts');
    await page.keyboard.press('Escape');
    await blur();
    await page.keyboard.press('?');
    assert.equal(await page.locator('#help').isVisible(), false);
    await expectQuiet(page);
  }));

  test('the feed is filtered by language and source', async () => {
    const own = await Server.start();
    try {
      await own.post([onePost('en-1', 'The harbour is open.', { lang: 'en' }), onePost('de-1', 'Der Hafen ist offen.', { lang: 'de' }), onePost('de-2', 'Die F\u00e4hre f\u00e4hrt.', { lang: 'de' })]);
      await onPage({ url: own.url }, async (page) => {
        await page.waitForFunction(() => document.querySelectorAll('.post').length === 3);
        await page.click('#feed-filter-toggle');
        await page.selectOption('#feed-lang', { label: 'German' });
        await page.waitForFunction(() => document.querySelectorAll('.post').length === 2);
        await expectAccessible(page, 'the filtered feed');
        await screenshot(page, 'feed-filters');
        await own.post([onePost('en-2', 'The harbour is closed.', { lang: 'en' }), onePost('de-3', 'Der Hafen ist zu.', { lang: 'de' })]);
        await page.locator('.post', { hasText: 'Der Hafen ist zu' }).waitFor();
        assert.equal(await page.locator('.post').count(), 3);
        await page.selectOption('#feed-lang', '');
        await page.waitForFunction(() => document.querySelectorAll('.post').length === 5);
        await expectQuiet(page);
      });
    } finally {
      await own.stop();
    }
  });

  test('without its script the page says what to do', async () => {
    const plain = await browser.newContext({ javaScriptEnabled: false });
    const page = await plain.newPage();
    try {
      await page.goto(server.url);
      await page.getByRole('heading', { name: 'This page needs JavaScript' }).waitFor();
      await screenshot(page, 'no-script');
      await page.fill('#plain-query', 'harbour');
      await page.getByRole('button', { name: 'Search' }).click();
      assert.match(await page.textContent('body'), /Varnholm harbour/);
    } finally {
      await plain.close();
    }
    const broken = await browser.newContext();
    const stuck = await broken.newPage();
    try {
      await stuck.route('**/js/main.js', (route) => route.abort());
      await stuck.goto(server.url);
      await stuck.locator('#unready').waitFor({ state: 'visible', timeout: 10_000 });
      assert.match(await stuck.textContent('#unready'), /has not started/);
    } finally {
      await broken.close();
    }
  });
});
