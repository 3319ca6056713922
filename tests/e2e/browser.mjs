// Chromium for the page's tests: every page is watched for errors, CSP violations and requests to other hosts.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { outFolder } from './server.mjs';

const executable = process.env.FATHOM_CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

export const skipWithoutChromium = existsSync(executable) ? false : `no browser at ${executable}: apt-get install chromium`;

export const launch = () => chromium.launch({ executablePath: executable, args: FLAGS });

const asking = () => document.querySelector('#clock-text').textContent !== 'Connecting';

/// A page on `url` in a context of its own, once `ready` holds in it. `page.watch` holds what went wrong; `expectQuiet`
/// asserts that nothing did.
export async function openPage(browser, url, { ready = asking, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, timezoneId: 'UTC', locale: 'en-GB', ...options });
  await context.addInitScript(() => {
    globalThis.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => {
      globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
    });
  });
  const page = await context.newPage();
  const watch = { errors: [], foreign: [], dialogs: [] };
  page.watch = watch;
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && watch.errors.push(message.text()));
  page.on('pageerror', (error) => watch.errors.push(String(error.stack ?? error)));
  page.on('dialog', (dialog) => { watch.dialogs.push(dialog.message()); dialog.dismiss(); });
  page.on('request', (request) => !request.url().startsWith(new URL(url).origin) && !request.url().startsWith('data:') && watch.foreign.push(request.url()));
  await page.goto(url);
  await page.waitForFunction(ready);
  return page;
}

export async function expectQuiet(page) {
  assert.deepEqual(page.watch.errors, [], 'console errors');
  assert.deepEqual(page.watch.foreign, [], 'requests to other hosts');
  assert.deepEqual(page.watch.dialogs, [], 'dialogs');
  assert.deepEqual(await page.evaluate(() => globalThis.violations), [], 'CSP violations');
}

/// Types a question, sends it and waits until its answer is done; returns the last turn.
export async function ask(page, question, { state = 'done', timeout = 60_000 } = {}) {
  const before = await page.locator('.turn').count();
  await page.fill('#question', question);
  await page.press('#question', 'Enter');
  const turn = page.locator('.turn').nth(before);
  await turn.waitFor();
  await page.waitForFunction(([i, wanted]) => document.querySelectorAll('.turn')[i]?.dataset.state === wanted, [before, state], { timeout });
  return turn;
}

/// Chooses in the settings how to answer: `name` is 'writer', 'style', 'window' or 'rounds'.
export async function choose(page, name, value) {
  await page.click('#options');
  await page.selectOption(`#${name}`, value);
  await page.click('#settings-close');
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/// No violation of WCAG 2.2 A and AA, nor of axe's best practices.
export async function expectAccessible(page, what) {
  await page.evaluate(axeSource);
  const violations = await page.evaluate(async () => {
    await Promise.all(document.getAnimations().map((animation) => animation.finish?.() ?? null).filter(Boolean)).catch(() => {});
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    const { violations: found } = await globalThis.axe.run(document, { runOnly: tags });
    return found.map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => `${n.target.join(' ')} (${n.any[0]?.message ?? n.all[0]?.message ?? ''})`).join('; ')}`);
  });
  assert.deepEqual(violations, [], `axe on ${what}`);
}

export async function screenshot(page, name) {
  mkdirSync(outFolder, { recursive: true });
  await page.screenshot({ path: join(outFolder, `${name}.png`) });
}
