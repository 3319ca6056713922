// The sidebar of conversations: kept by the server, found, opened as they were, renamed, exported and deleted; and by the
// browser where the server keeps none.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { ask, choose, expectAccessible, expectQuiet, launch, openPage, screenshot, skipWithoutChromium } from './browser.mjs';
import { townPosts } from './posts.mjs';
import { Server } from './server.mjs';

const GUST = 'How strong was the strongest gust at the north mole in Varnholm harbour?';
const POWER = 'How many homes in East Varnholm have power again?';

describe('conversations', { skip: skipWithoutChromium }, () => {
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
    const page = await openPage(browser, server.url, options);
    try {
      await choose(page, 'writer', 'extract');
      await page.click('#history-toggle');
      await body(page);
    } finally {
      await page.context().close();
      await fetch(`${server.url}/v1/conversations`, { method: 'DELETE' });
    }
  }

  const titles = (page) => page.locator('.history-title').allTextContents();
  const kept = async () => (await server.json('/v1/conversations')).data;

  async function fromMenu(page, title, entry) {
    await page.locator('.history-list li', { hasText: title }).hover();
    await page.getByRole('button', { name: `More: ${title}` }).click();
    await page.getByRole('menuitem', { name: entry }).click();
  }

  test('an empty list says what it is for', () => onPage({}, async (page) => {
    await page.locator('#history-note', { hasText: 'Ask something to start one' }).waitFor();
    await expectAccessible(page, 'the empty sidebar');
    await expectQuiet(page);
  }));

  for (const colorScheme of ['light', 'dark']) {
    test(`are listed newest first, and open as they were, in another browser too (${colorScheme})`, () => onPage({ colorScheme }, async (page) => {
      const first = await ask(page, GUST);
      const chips = await first.locator('.chip').count();
      await ask(page, 'And how many homes in East Varnholm have power?');
      await page.click('#new-conversation');
      await ask(page, 'Who won the match in Tarn?');
      await page.waitForFunction(() => document.querySelectorAll('.history-item').length === 2);
      assert.deepEqual(await titles(page), ['Who won the match in Tarn?', GUST]);
      assert.deepEqual((await kept()).map((conversation) => conversation.turns), [1, 2]);
      await screenshot(page, `history-${colorScheme}`);
      await expectAccessible(page, `the sidebar (${colorScheme})`);
      const other = await openPage(browser, server.url, { colorScheme });
      try {
        await other.click('#history-toggle');
        await other.locator('.history-item', { hasText: 'north mole' }).click();
        await other.waitForFunction(() => document.querySelectorAll('.turn').length === 2);
        const turn = other.locator('.turn').first();
        assert.equal(await turn.locator('.chip').count(), chips);
        await turn.locator('.chip').first().click();
        assert.ok((await other.locator('#card mark').textContent()).length > 0, 'the passage is marked');
        await other.keyboard.press('Escape');
        assert.match(await turn.locator('.meta').textContent(), /As of/);
        assert.match(await turn.locator('.steps').textContent(), /Searched/);
        assert.match(await turn.locator('.source-title').textContent(), /Sources/);
        await expectQuiet(other);
      } finally {
        await other.context().close();
      }
      await expectQuiet(page);
    }));
  }

  test('a follow-up is kept with what it follows; asking again replaces, and does not add', () => onPage({}, async (page) => {
    await ask(page, GUST);
    await ask(page, 'And how many homes in East Varnholm have power?');
    await page.locator('.turn').nth(1).locator('.again').click();
    await page.waitForFunction(() => document.querySelectorAll('.turn[data-state=done]').length === 2);
    const [conversation] = await kept();
    assert.equal(conversation.turns, 2);
    await page.locator('.turn').first().locator('.again').click();
    await page.waitForFunction(() => document.querySelectorAll('.turn').length === 1 && document.querySelector('.turn').dataset.state === 'done');
    assert.equal((await kept())[0].turns, 1);
    await expectQuiet(page);
  }));

  test('are found by the words of questions and answers', () => onPage({}, async (page) => {
    await ask(page, GUST);
    await page.click('#new-conversation');
    await ask(page, POWER);
    await page.waitForFunction(() => document.querySelectorAll('.history-item').length === 2);
    await page.fill('#history-search', 'mole');
    await page.waitForFunction(() => document.querySelectorAll('.history-item').length === 1);
    assert.match((await titles(page))[0], /north mole/);
    await page.fill('#history-search', 'zzyzx');
    await page.locator('#history-note', { hasText: 'No conversation holds' }).waitFor();
    await expectAccessible(page, 'a search that finds nothing');
    await page.fill('#history-search', '');
    await page.waitForFunction(() => document.querySelectorAll('.history-item').length === 2);
    await expectQuiet(page);
  }));

  test('are renamed, by keyboard too', () => onPage({}, async (page) => {
    await ask(page, GUST);
    await page.waitForSelector('.history-item');
    await fromMenu(page, GUST, 'Rename');
    await page.keyboard.type('The storm');
    await page.keyboard.press('Enter');
    await page.locator('.history-title', { hasText: 'The storm' }).waitFor();
    assert.equal((await kept())[0].title, 'The storm');
    await page.getByRole('button', { name: 'More: The storm' }).focus();
    await page.keyboard.press('Enter');
    await expectAccessible(page, 'the menu of a conversation');
    await screenshot(page, 'history-menu');
    await page.keyboard.press('ArrowDown');
    assert.match(await page.evaluate(() => document.activeElement.textContent), /Markdown/);
    await page.keyboard.press('Escape');
    assert.match(await page.evaluate(() => document.activeElement.ariaLabel), /More: The storm/);
    await expectQuiet(page);
  }));

  test('are exported as Markdown and JSON', () => onPage({}, async (page) => {
    await ask(page, GUST);
    await page.waitForSelector('.history-item');
    for (const [entry, end] of [['Export as Markdown', 'md'], ['Export as JSON', 'json']]) {
      const waiting = page.waitForEvent('download');
      await fromMenu(page, GUST, entry);
      const download = await waiting;
      assert.match(download.suggestedFilename(), new RegExp(`^how-strong-was-the-strongest-gust.*\\.${end}$`));
      const text = await readFile(await download.path(), 'utf8');
      assert.match(text, /98 km\/h/);
      assert.match(text, /posts\.example\.org\/coastguard_north/);
      if (end === 'json') JSON.parse(text);
    }
    await expectQuiet(page);
  }));

  test('are deleted one by one and all together, after a question', () => onPage({}, async (page) => {
    await ask(page, GUST);
    await page.click('#new-conversation');
    await ask(page, POWER);
    await page.waitForFunction(() => document.querySelectorAll('.history-item').length === 2);
    await fromMenu(page, POWER, 'Delete');
    await page.locator('#confirm-dialog', { hasText: 'deleted for good' }).waitFor();
    await expectAccessible(page, 'the question before deleting');
    await page.getByRole('button', { name: 'Keep' }).click();
    assert.equal((await kept()).length, 2);
    await fromMenu(page, POWER, 'Delete');
    await page.click('#confirm-yes');
    await page.waitForFunction(() => document.querySelectorAll('.history-item').length === 1);
    assert.equal(await page.locator('.turn').count(), 0, 'the open one was deleted');
    assert.equal((await kept()).length, 1);
    await page.click('#history-clear');
    await page.click('#confirm-yes');
    await page.waitForFunction(() => document.querySelectorAll('.history-item').length === 0);
    assert.equal((await kept()).length, 0);
    await expectQuiet(page);
  }));

  test('a server that keeps none: the browser does', async () => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    try {
      await page.route('**/v1/conversations*', (route) => route.fulfill({ status: 404, contentType: 'application/json', body: '{"error":{"message":"none are kept"}}' }));
      await page.goto(server.url);
      await page.waitForSelector('.post');
      await choose(page, 'writer', 'extract');
      await page.click('#history-toggle');
      await ask(page, GUST);
      await page.locator('#history-note', { hasText: 'Kept in this browser only' }).waitFor();
      await page.reload();
      await page.locator('.history-item', { hasText: 'north mole' }).click();
      await page.locator('.turn .chip').first().click();
      assert.match(await page.locator('#card mark').textContent(), /98 km\/h/);
      await page.keyboard.press('Escape');
      const waiting = page.waitForEvent('download');
      await fromMenu(page, GUST, 'Export as Markdown');
      assert.match(await readFile(await (await waiting).path(), 'utf8'), /^# How strong[\s\S]*98 km\/h[\s\S]*1\. @coastguard/);
      await page.click('#history-clear');
      await page.click('#confirm-yes');
      await page.waitForFunction(() => document.querySelectorAll('.history-item, .turn').length === 0);
    } finally {
      await context.close();
    }
  });

  test('on a phone the list lies over the page and closes when one is opened', () => {
    const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
    return onPage(phone, async (page) => {
      await page.keyboard.press('Escape');
      await ask(page, GUST);
      await page.tap('#history-toggle');
      await page.waitForSelector('.history-item');
      await screenshot(page, 'history-phone');
      await expectAccessible(page, 'the sidebar on a phone');
      assert.equal(await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth), 0);
      await page.tap('.history-item');
      await page.locator('#history').waitFor({ state: 'hidden' });
      await expectQuiet(page);
    });
  });
});
