// The sample world in the page: the first thing that a newcomer sees. Also takes the picture for the README:
// FATHOM_PICTURE=1 node --test world.test.mjs

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ask, choose, expectAccessible, expectQuiet, launch, openPage, screenshot, skipWithoutChromium } from './browser.mjs';
import { modelPath, root, Server } from './server.mjs';

describe('the sample world', { skip: skipWithoutChromium }, () => {
  let browser;
  let server;

  before(async () => {
    const model = process.env.FATHOM_PICTURE && modelPath ? modelPath : 'none';
    [browser, server] = await Promise.all([launch(), Server.start({ source: 'world', model })]);
    const until = Date.now() + 60_000;
    while ((await server.json('/v1/status')).store.posts < 1000 && Date.now() < until) await new Promise((done) => { setTimeout(done, 100); });
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test('is called fiction wherever it shows, by its own clock, and answers', async () => {
    const page = await openPage(browser, server.url, { viewport: { width: 1360, height: 860 } });
    try {
      await page.locator('#fiction-label').waitFor();
      await page.locator('#fiction-note').waitFor();
      await page.waitForSelector('.post');
      const unmarked = await page.evaluate(() => [...document.querySelectorAll('.post')].filter((post) => !post.querySelector('.badge.fiction')).length);
      assert.equal(unmarked, 0, 'every post is marked');
      assert.match(await page.locator('#status-toggle').textContent(), /Feed clock .*, replayed/);
      await page.waitForFunction(() => document.querySelectorAll('.suggestion').length >= 3, null, { timeout: 15_000 });
      await screenshot(page, 'world');
      await expectAccessible(page, 'the sample world');
      await choose(page, 'writer', 'extract');
      const questions = await page.locator('.suggestion').allTextContents();
      const turn = await ask(page, questions.at(-1));
      assert.ok(await turn.locator('.chip').count() > 0, `${questions.at(-1)}: ${await turn.locator('.answer').textContent()}`);
      assert.match(await turn.locator('.meta').textContent(), /Fiction/);
      await turn.locator('.chip').first().click();
      assert.equal(await page.locator('#card .badge.fiction').count(), 1);
      await page.keyboard.press('Escape');
      await ask(page, 'What is going on right now?');
      await expectQuiet(page);
    } finally {
      await page.context().close();
    }
  });

  test('its picture', { skip: process.env.FATHOM_PICTURE ? false : 'only when FATHOM_PICTURE is set' }, async () => {
    const page = await openPage(browser, server.url, { viewport: { width: 1360, height: 860 }, deviceScaleFactor: 2 });
    try {
      await choose(page, 'writer', process.env.FATHOM_PICTURE_WRITER ?? 'extract');
      const turn = await ask(page, process.env.FATHOM_PICTURE_QUESTION ?? 'What is going on right now?');
      await turn.locator('.chip').nth(Number(process.env.FATHOM_PICTURE_CHIP ?? 0)).hover();
      await page.locator('#card').waitFor();
      await page.waitForTimeout(600);
      await page.screenshot({ path: join(root, 'docs/images/ask.png') });
    } finally {
      await page.context().close();
    }
  });
});
