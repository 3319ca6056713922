// The page in Chromium against a real server: asking, citations and their cards, the feed, failures, phone, keyboard.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ask, choose, expectAccessible, expectQuiet, launch, openPage, screenshot, skipWithoutChromium } from './browser.mjs';
import { onePost, townPosts } from './posts.mjs';
import { Proxy } from './proxy.mjs';
import { modelPath, Server, skipWithoutModel } from './server.mjs';

const GUST = 'How strong was the strongest gust at the north mole in Varnholm harbour?';

describe('the page', { skip: skipWithoutChromium }, () => {
  let browser;
  let server;
  const posts = townPosts();
  const byUrl = new Map(posts.map((post) => [post.url, post]));

  before(async () => {
    [browser, server] = await Promise.all([launch(), Server.start()]);
    await server.post(posts);
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

  test('loads quietly, from its own server alone, and suggests questions from the feed', () => onPage({}, async (page) => {
    await page.waitForSelector('.suggestion');
    assert.match(await page.locator('#welcome-line').textContent(), /Answers from [\d,]+ posts, as of /);
    assert.equal(await page.locator('#fiction-label').isVisible(), false, 'real posts are not called fiction');
    await page.waitForSelector('.post');
    await expectAccessible(page, 'the empty page');
    await screenshot(page, 'empty');
    await expectQuiet(page);
  }));

  test('a post appears in the feed pane as soon as it is posted; pause holds it back', () => onPage({}, async (page) => {
    await page.waitForSelector('.post');
    await server.post([onePost('live-1', 'The lighthouse lamp of Oster is lit again.')]);
    await page.locator('.post', { hasText: 'The lighthouse lamp of Oster' }).waitFor({ timeout: 5000 });
    await page.click('#feed-pause');
    await server.post([onePost('live-2', 'A second lamp is lit in Oster too.')]);
    await page.locator('#feed-new', { hasText: '1 new post' }).waitFor({ timeout: 5000 });
    assert.equal(await page.locator('.post', { hasText: 'A second lamp' }).count(), 0);
    await page.click('#feed-new');
    await page.locator('.post', { hasText: 'A second lamp' }).waitFor();
    assert.match(await page.locator('.post').first().textContent(), /A second lamp.*/);
    await page.fill('#feed-filter', '@tester lighthouse');
    await page.waitForFunction(() => document.querySelectorAll('.post').length === 1);
    await page.fill('#feed-filter', 'no-such-word-anywhere');
    assert.match(await page.locator('#feed-state').textContent(), /No recent post matches/);
    await expectQuiet(page);
  }));

  test('the feed holds still under the pointer and goes on after it', () => onPage({}, async (page) => {
    await page.locator('.post').first().hover();
    await server.post([onePost('held-1', 'A third lamp is lit in Oster.')]);
    await page.locator('#feed-new', { hasText: 'new post' }).waitFor();
    assert.equal(await page.locator('.post', { hasText: 'A third lamp' }).count(), 0);
    await page.mouse.move(300, 300);
    await page.locator('.post', { hasText: 'A third lamp' }).waitFor();
    await expectQuiet(page);
  }));

  test('a server without a post says that it waits for the first', async () => {
    const fresh = await Server.start();
    try {
      await onPage({ url: fresh.url }, async (page) => {
        assert.match(await page.locator('#status-toggle').textContent(), /Waiting for the first post/);
        assert.match(await page.locator('#feed-state').textContent(), /No posts yet/);
        assert.match(await page.locator('#welcome-line').textContent(), /No posts have come in yet/);
        assert.equal(await page.locator('.suggestion').count(), 0);
        await page.click('#status-toggle');
        await expectAccessible(page, 'a server without a post');
        await screenshot(page, 'first-start');
        await fresh.post([onePost('first', 'The first post of all.')]);
        await page.locator('.post', { hasText: 'The first post of all' }).waitFor();
        assert.equal(await page.locator('#feed-state').isVisible(), false);
        await expectQuiet(page);
      });
    } finally {
      await fresh.stop();
    }
  });

  test('asking about a post fills the composer with it', () => onPage({}, async (page) => {
    const item = page.locator('.post', { hasText: 'Petrel rocket' });
    await item.waitFor();
    await item.getByRole('button', { name: 'Ask (post of @orbitdesk)' }).click();
    assert.match(await page.inputValue('#question'), /@orbitdesk: "Keldan Aerospace moves the launch/);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'question');
  }));

  /// Every chip's card shows the cited post's own words, and links to it.
  async function expectTrueCards(page, turn) {
    const chips = turn.locator('.answer .chip');
    const count = await chips.count();
    assert.ok(count > 0, `no citation in: ${await turn.locator('.answer').textContent()}`);
    for (let i = 0; i < count; i += 1) {
      await chips.nth(i).click();
      await page.locator('#card').waitFor();
      const href = await page.locator('#card a.outward').getAttribute('href');
      const post = byUrl.get(href);
      assert.ok(post, `the card links to a post that was posted: ${href}`);
      assert.equal(await page.locator('#card a.outward').getAttribute('rel'), 'noopener noreferrer nofollow');
      const passage = await page.locator('#card mark').textContent();
      assert.ok(passage.length > 0 && post.text.includes(passage), `"${passage}" is in "${post.text}"`);
      assert.ok((await page.locator('#card').textContent()).includes(`@${post.author.handle}`));
      assert.match(await page.locator('#card time').textContent(), /ago, \d+ \w+ \d{4}, \d\d:\d\d|just now, /);
      await page.keyboard.press('Escape');
      await page.locator('#card').waitFor({ state: 'hidden' });
    }
  }

  test('quoting writer: the answer cites, its cards show the passages, its sources are listed', () => onPage({}, async (page) => {
    await choose(page, 'writer', 'extract');
    const turn = await ask(page, GUST);
    assert.match(await turn.locator('.answer').textContent(), /98 km\/h/);
    await expectTrueCards(page, turn);
    assert.match(await turn.locator('.as-of').textContent(), /As of \d+ \w+ \d{4}, \d\d:\d\d:\d\d/);
    assert.match(await turn.locator('.facts').textContent(), /Quoted from the posts/);
    assert.match(await turn.locator('.steps').textContent(), /Searched/);
    await turn.locator('.source-panel summary').click();
    const cited = await turn.locator('ol.source-list > li').count();
    const numbers = new Set(await turn.locator('.answer .chip').allTextContents());
    assert.equal(cited, numbers.size, 'one source a number');
    await turn.locator('.answer .chip').first().hover();
    await page.locator('#card').waitFor();
    await screenshot(page, 'answer');
    await expectAccessible(page, 'an answer with its card and sources');
    await page.mouse.move(640, 5);
    await page.locator('#card').waitFor({ state: 'hidden' });
    assert.match(await page.locator('#announcer').textContent(), /98 km\/h/, 'read aloud in sentences');
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await turn.getByRole('button', { name: 'Copy' }).click();
    await turn.getByText('Copied').waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(copied, /98 km\/h[\s\S]*\[1\] @coastguard_north, .*https:\/\/posts\.example\.org\/coastguard_north\//);
    await expectQuiet(page);
  }));

  test('nothing found: it says so and cites nothing', () => onPage({}, async (page) => {
    await choose(page, 'writer', 'extract');
    const turn = await ask(page, 'Zzyzx quuxly frobnication?');
    assert.equal(await turn.locator('.chip').count(), 0);
    assert.ok((await turn.locator('.answer').textContent()).trim().length > 10);
    await screenshot(page, 'nothing-found');
    await expectQuiet(page);
  }));

  test('a follow-up carries the conversation, ask again replaces the answer', async () => {
    const proxy = await Proxy.start(server.url);
    try {
      await onPage({ url: proxy.url }, async (page) => {
        await choose(page, 'writer', 'extract');
        await ask(page, GUST);
        await ask(page, 'And how many homes in East Varnholm have power?');
        assert.deepEqual(proxy.chatBodies.map((body) => body.messages.map((message) => message.role)), [['user'], ['user', 'assistant', 'user']]);
        assert.match(proxy.chatBodies[1].messages[1].content, /98 km\/h/);
        await page.locator('.turn').nth(1).locator('.again').click();
        await page.waitForFunction(() => document.querySelectorAll('.turn').length === 2 && document.querySelectorAll('.turn[data-state=done]').length === 2);
        assert.equal(proxy.chatBodies.length, 3);
        assert.deepEqual(proxy.chatBodies[2].messages, proxy.chatBodies[1].messages);
        await expectQuiet(page);
      });
    } finally {
      await proxy.stop();
    }
  });

  test('the question can be edited: its answer and those after it are replaced', () => onPage({}, async (page) => {
    await choose(page, 'writer', 'extract');
    const turn = await ask(page, 'Who won the match in Tarn?');
    await ask(page, GUST);
    await turn.getByRole('button', { name: 'Edit the question' }).click();
    const field = turn.getByRole('textbox', { name: 'The question' });
    assert.equal(await field.inputValue(), 'Who won the match in Tarn?');
    await expectAccessible(page, 'a question that is edited');
    await field.press('Escape');
    assert.equal(await turn.locator('.question').textContent(), 'Who won the match in Tarn?');
    await turn.getByRole('button', { name: 'Edit the question' }).click();
    await field.fill('How many homes in East Varnholm have power again?');
    await field.press('Enter');
    await page.waitForFunction(() => document.querySelectorAll('.turn').length === 1 && document.querySelector('.turn').dataset.state === 'done');
    assert.match(await page.locator('.answer').textContent(), /5,100/);
    await expectQuiet(page);
  }));

  test('posts that come in after an answer are counted under it, and asked for with one click', () => onPage({}, async (page) => {
    await choose(page, 'writer', 'extract');
    const turn = await ask(page, GUST);
    await server.post([onePost('gust-2', 'A gust of 101 km/h at the north mole in Varnholm harbour just now, the strongest of the day.')]);
    await turn.locator('.newer', { hasText: '1 new post since this answer' }).waitFor({ timeout: 30_000 });
    await expectAccessible(page, 'an answer that newer posts followed');
    await screenshot(page, 'new-posts');
    await turn.getByRole('button', { name: 'Ask again with them' }).click();
    await page.waitForFunction(() => document.querySelector('.turn')?.dataset.state === 'done');
    assert.match(await page.locator('.source-list').first().textContent(), /101 km\/h/);
    assert.equal(await page.locator('.newer').textContent(), '');
    await expectQuiet(page);
  }));

  test('stop ends an answer midway and keeps what was written', async () => {
    const proxy = await Proxy.start(server.url);
    try {
      await onPage({ url: proxy.url }, async (page) => {
        proxy.holdAfter = 700;
        await page.fill('#question', GUST);
        await page.press('#question', 'Enter');
        await page.waitForSelector('.turn[data-state=working]');
        await page.click('#stop');
        await page.waitForSelector('.turn[data-state=stopped]');
        assert.match(await page.locator('.turn').textContent(), /You stopped this answer/);
        assert.ok(await page.locator('#send').isVisible());
        proxy.holdAfter = Infinity;
        await page.click('.again');
        await page.waitForSelector('.turn[data-state=done]');
        await expectQuiet(page);
      });
    } finally {
      await proxy.stop();
    }
  });

  test('the server dies midway: the page says so, and recovers when it is back', async () => {
    const mortal = await Server.start();
    const proxy = await Proxy.start(mortal.url);
    let next;
    try {
      await mortal.post(townPosts());
      await onPage({ url: proxy.url }, async (page) => {
        await page.waitForSelector('.post');
        proxy.holdAfter = 900;
        const held = new Promise((resolve) => { proxy.held = resolve; });
        await page.fill('#question', GUST);
        await page.press('#question', 'Enter');
        await held;
        await mortal.end('SIGKILL');
        proxy.breakOff();
        await page.waitForSelector('.turn[data-state=error]');
        assert.match(await page.locator('.failure').textContent(), /broke off/);
        await page.locator('#notice', { hasText: 'The server does not answer' }).waitFor({ timeout: 10_000 });
        assert.match(await page.locator('#feed-state').textContent(), /Trying again/);
        await expectAccessible(page, 'the page without its server');
        await screenshot(page, 'server-gone');
        next = await Server.start({ data: mortal.data });
        proxy.target = next.url;
        proxy.holdAfter = Infinity;
        await page.locator('#notice').waitFor({ state: 'hidden', timeout: 15_000 });
        await page.getByRole('button', { name: 'Ask again' }).click();
        await page.waitForSelector('.turn[data-state=done]');
        assert.ok(await page.locator('.answer .chip').count() > 0, 'the posts are still there');
        await next.post([onePost('back-1', 'Back on the air.')]);
        await page.locator('.post', { hasText: 'Back on the air' }).waitFor({ timeout: 15_000 });
        assert.deepEqual(page.watch.dialogs, []);
      });
    } finally {
      await proxy.stop();
      await next?.stop();
      await mortal.stop();
    }
  });

  test('errors of the server are shown in its own words, with what to do', () => onPage({}, async (page) => {
    const refuse = (status, error, headers = {}) => page.route('**/v1/chat/completions', (route) => route.fulfill({
      status, headers: { 'x-request-id': 'req_42', ...headers }, contentType: 'application/json', body: JSON.stringify({ error }),
    }), { times: 1 });
    await refuse(429, { message: 'too many answers are being made', type: 'rate_limit_error', param: null, code: 'rate_limit_exceeded' }, { 'retry-after': '7' });
    let turn = await ask(page, 'first', { state: 'error' });
    assert.match(await turn.locator('.failure').textContent(), /too many answers are being made.*Ask again in 7 s/);
    await refuse(500, { message: 'the server could not complete this request', type: 'server_error', param: null, code: 'internal_error' });
    turn = await ask(page, 'second', { state: 'error' });
    assert.match(await turn.locator('.failure').textContent(), /could not complete.*log has the reason.*Request req_42/);
    await page.route('**/v1/chat/completions', (route) => route.fulfill({ status: 502, contentType: 'text/html', body: '<h1>Bad gateway</h1>' }), { times: 1 });
    turn = await ask(page, 'third', { state: 'error' });
    assert.match(await turn.locator('.failure').textContent(), /status 502/);
    await expectAccessible(page, 'errors');
  }));

  test('written by the model: every citation that is shown is true', { skip: skipWithoutModel }, async () => {
    const writer = await Server.start({ model: modelPath });
    try {
      await writer.post(posts);
      await onPage({ url: writer.url }, async (page) => {
        assert.equal(await page.locator('#model-note').isVisible(), false);
        await choose(page, 'writer', 'generate');
        const turn = await ask(page, GUST, { timeout: 100_000 });
        if (await turn.locator('.chip').count() > 0) await expectTrueCards(page, turn);
        else assert.ok((await turn.locator('.answer').textContent()).trim().length > 10, 'says that nothing was found');
        await choose(page, 'writer', 'auto');
        const second = await ask(page, 'How many homes in East Varnholm have power again?', { timeout: 100_000 });
        await expectTrueCards(page, second);
        await page.click('#status-toggle');
        assert.match(await page.locator('#status-panel').textContent(), /SmolLM2/i);
        await screenshot(page, 'generated');
        await expectQuiet(page);
        await page.keyboard.press('Escape');
        await choose(page, 'writer', 'generate');
        await page.fill('#question', GUST);
        const sent = page.waitForRequest('**/v1/chat/completions');
        await page.press('#question', 'Enter');
        await sent;
        await writer.end('SIGKILL');
        await page.waitForSelector('.turn[data-state=error]');
        assert.ok((await page.locator('.failure .notice-title').last().textContent()).length > 10);
      });
    } finally {
      await writer.stop();
    }
  });

  test('without a model it says how to add one', () => onPage({}, async (page) => {
    assert.equal(await page.locator('#writer option[value=generate]').isDisabled(), true);
    await page.locator('#model-note').getByRole('button').click();
    await page.locator('#pane-model', { hasText: 'None is loaded' }).waitFor();
    await expectAccessible(page, 'the settings of the model');
    await page.keyboard.press('Escape');
    await page.locator('#settings').waitFor({ state: 'hidden' });
    await expectQuiet(page);
  }));

  test('a server with a key asks for it', async () => {
    const locked = await Server.start({ env: { FATHOM_API_KEY: 'open-sesame' } });
    try {
      await locked.post(posts, { Authorization: 'Bearer open-sesame' });
      const page = await openPage(browser, locked.url);
      try {
        await page.locator('#key-dialog').waitFor();
        await expectAccessible(page, 'the dialog about the key');
        await page.fill('#key-input', 'open-sesame');
        await page.press('#key-input', 'Enter');
        await page.waitForSelector('.post');
        await choose(page, 'writer', 'extract');
        await expectTrueCards(page, await ask(page, GUST));
      } finally {
        await page.context().close();
      }
    } finally {
      await locked.stop();
    }
  });

  test('keyboard only: / focuses, Enter asks, Tab reaches the chips, Escape closes and returns', () => onPage({}, async (page) => {
    await page.locator('#feed-filter').focus();
    await page.keyboard.press('Escape');
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press('/');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'question');
    await page.keyboard.type('One line');
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.type(GUST);
    assert.equal(await page.inputValue('#question'), `One line\n${GUST}`);
    await page.fill('#question', GUST);
    await page.keyboard.press('Enter');
    await page.waitForSelector('.turn[data-state=done]');
    const focused = () => page.evaluate(() => `${document.activeElement.tagName} ${document.activeElement.className || document.activeElement.id}`);
    for (let i = 0; i < 40 && !(await focused()).includes('chip'); i += 1) await page.keyboard.press('Shift+Tab');
    assert.match(await focused(), /chip/);
    await page.locator('#card').waitFor();
    await page.keyboard.press('Enter');
    assert.match(await focused(), /card/);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.querySelector('#card').contains(document.activeElement)), true, 'Tab goes into the card');
    await page.keyboard.press('Escape');
    await page.locator('#card').waitFor({ state: 'hidden' });
    assert.match(await focused(), /chip/);
    await expectQuiet(page);
  }));

  test('dark colours', () => onPage({ colorScheme: 'dark' }, async (page) => {
    await choose(page, 'writer', 'extract');
    const turn = await ask(page, GUST);
    await turn.locator('.source-panel summary').click();
    await turn.locator('.chip').first().click();
    await expectAccessible(page, 'the dark page');
    await page.keyboard.press('Escape');
    await page.click('#status-toggle');
    await expectAccessible(page, 'the dark page with its status panel');
    await screenshot(page, 'dark');
    await page.click('#theme-toggle');
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'light');
    await page.reload();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'light', 'remembered');
    await expectQuiet(page);
  }));

  test('phone: nothing overflows, targets are large enough, the feed is one tap away', () => {
    const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
    return onPage(phone, async (page) => {
      const overflow = () => page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
      assert.equal(await overflow(), 0);
      assert.equal(await page.locator('#feed').isVisible(), false);
      const small = await page.evaluate(() => [...document.querySelectorAll('button, a[href], select')]
        .filter((element) => element.checkVisibility() && !element.matches('.skip, .chip, .model-note *'))
        .map((element) => [element.id || element.className || element.textContent, element.getBoundingClientRect()])
        .filter(([, box]) => box.width > 0 && (box.height < 43.5 || box.width < 43.5)).map(([name, box]) => `${name} ${box.width}x${box.height}`));
      assert.deepEqual(small, [], 'targets of 44 px');
      await choose(page, 'writer', 'extract');
      await page.fill('#question', GUST);
      await page.tap('#send');
      await page.waitForSelector('.turn[data-state=done]');
      await page.locator('.answer .chip').first().tap();
      await page.locator('#card').waitFor();
      assert.equal(await overflow(), 0);
      const box = await page.locator('#card').boundingBox();
      assert.ok(box.x >= 0 && box.x + box.width <= 360 && box.y >= 0 && box.y + box.height <= 740, JSON.stringify(box));
      await screenshot(page, 'phone');
      await expectAccessible(page, 'the phone page');
      await page.locator('#card').getByRole('button', { name: 'Close' }).tap();
      await page.tap('#feed-toggle');
      await page.locator('.post').first().waitFor();
      assert.equal(await overflow(), 0);
      await expectAccessible(page, 'the feed on a phone');
      await expectQuiet(page);
    });
  });
});
