// The page put together: the composer, the conversation, the feed, the status.

import { ApiError, setKey, streamAnswer } from './api.js';
import { PassageCard } from './card.js';
import { byId, h, icon, setIcon } from './dom.js';
import { FeedPane } from './feed.js';
import { History } from './history.js';
import { recall, remember, initTheme } from './settings.js';
import { Status } from './status.js';
import { shorten } from './text.js';
import { absolute, FeedClock } from './time.js';
import { suggestionsFor } from './topics.js';
import { RisingPane } from './trends.js';
import { newTurn, takeChunk, TurnView } from './turn.js';

const EARLIER_TURNS = 6;  // of the conversation that go along with a question
const MODELS = { auto: 'fathom', extract: 'fathom-extract', generate: 'fathom-generate' };

const clock = new FeedClock();
const history = new History();
const card = new PassageCard(clock, askAbout, highlightClaim);
const status = new Status(clock, onStatus, askForKey);
const feed = new FeedPane(clock, askAbout, (state) => state === 'denied' && askForKey());
const rising = new RisingPane(clock, askOfRising);
const deps = { clock, card, onAgain: askAgain, onAsk: askAbout };

let conversation = null;
let views = [];
const forgotten = new Set();  // ids of conversations that the reader removed
let running = null;  // {abort, view} while an answer is being made

// --- asking ---

async function ask(question) {
  if (running) return;
  conversation ??= { id: crypto.randomUUID?.() ?? String(Date.now()), title: shorten(question.replace(/\s+/g, ' '), 80), started: Date.now(), turns: [] };
  const turn = newTurn(question, byId('writer').value);
  conversation.turns.push(turn);
  await answer(addView(turn));
}

async function askAgain(view) {
  if (running) return;
  const turn = newTurn(view.turn.question, byId('writer').value);
  const at = views.indexOf(view);
  // What came after the answer followed from it.
  for (const later of views.splice(at)) later.element.remove();
  conversation.turns.splice(at, Infinity, turn);
  await answer(addView(turn));
}

function messagesUpTo(turn) {
  const at = conversation.turns.indexOf(turn);
  const earlier = conversation.turns.slice(Math.max(0, at - EARLIER_TURNS), at).filter((t) => t.text !== '');
  return [...earlier.flatMap((t) => [{ role: 'user', content: t.question }, { role: 'assistant', content: t.text }]),
    { role: 'user', content: turn.question }];
}

async function answer(view) {
  const { turn } = view;
  const mine = conversation;  // another one may be open when the answer ends
  const abort = new AbortController();
  running = { abort, view };
  drawRunning();
  try {
    const body = { model: MODELS[turn.wanted] ?? MODELS.auto, messages: messagesUpTo(turn) };
    for await (const chunk of streamAnswer(body, abort.signal)) {
      takeChunk(turn, chunk);
      scheduleDraw(view);
    }
    turn.state = 'done';
  } catch (error) {
    fail(turn, error);
  }
  running = null;
  cancelAnimationFrame(frame);
  frame = 0;
  view.update();
  if (!forgotten.has(mine.id)) history.save(mine);
  drawHistory();
  drawRunning();
}

function fail(turn, error) {
  if (error.name === 'AbortError') {
    turn.state = 'stopped';
    return;
  }
  const known = error instanceof ApiError ? error : new ApiError('stream', `The page could not read the answer: ${error.message}`);
  turn.state = 'error';
  const advice = known.kind === 'stream' && turn.text === '' ? 'Nothing was written yet. Ask again.' : known.advice;
  turn.error = { message: known.message, advice, requestId: known.requestId };
  if (known.status === 401 || known.status === 403) askForKey();
  if (known.kind === 'network') status.refresh();
}

let frame = 0;
function scheduleDraw(view) {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    view.update();
  });
}

// --- the conversation on the page ---

function addView(turn) {
  const view = new TurnView(turn, deps);
  views.push(view);
  byId('turns').append(view.element);
  drawEmptiness();
  view.element.scrollIntoView({ block: 'start', behavior: calm() ? 'auto' : 'smooth' });
  return view;
}

function openConversation(next) {
  running?.abort.abort();
  card.hide();
  conversation = next;
  views = [];
  byId('turns').replaceChildren();
  for (const turn of next?.turns ?? []) {
    if (turn.state === 'working') turn.state = 'stopped';  // the page was closed midway
    addView(turn);
  }
  drawEmptiness();
  drawHistory();
  if (!touch()) byId('question').focus();
}

function drawEmptiness() {
  const empty = views.length === 0;
  document.body.dataset.empty = String(empty);
  byId('welcome').hidden = !empty;
  byId('suggestions').hidden = !empty;
  byId('question').placeholder = empty ? 'Ask what is going on' : 'Ask a follow-up question';
  document.title = empty ? 'Fathom' : `${conversation.title} \u2013 Fathom`;
}

function drawRunning() {
  byId('send').hidden = running !== null;
  byId('stop').hidden = running === null;
  for (const button of document.querySelectorAll('.again')) button.disabled = running !== null;
}

const touch = () => matchMedia('(pointer: coarse)').matches;
const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

/// Marks the claim that a chip supports, where the browser can (CSS Custom Highlight API).
function highlightClaim(citation) {
  if (!globalThis.CSS?.highlights) return;
  if (citation) CSS.highlights.set('claim', new Highlight(...citation.view.claimRanges(citation)));
  else CSS.highlights.delete('claim');
}

// --- the composer ---

function initComposer() {
  const question = byId('question');
  const fit = () => {
    question.style.height = 'auto';
    question.style.height = `${Math.min(question.scrollHeight, innerHeight * 0.4)}px`;
  };
  question.addEventListener('input', fit);
  question.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId('composer').requestSubmit();
  });
  byId('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    const text = question.value.trim();
    if (text === '' || running) return;
    question.value = '';
    fit();
    ask(text);
  });
  setIcon(byId('send'), 'send');
  setIcon(byId('stop'), 'stop');
  byId('stop').addEventListener('click', () => {
    running?.abort.abort();
    question.focus();
  });
  const writer = byId('writer');
  writer.value = MODELS[recall('writer')] ? recall('writer') : 'auto';
  writer.addEventListener('change', () => remember('writer', writer.value));
  document.addEventListener('keydown', (event) => {
    const typing = event.target.closest?.('input, textarea, select, [contenteditable]');
    if (event.key !== '/' || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    question.focus();
  });
}

function fillQuestion(text) {
  const question = byId('question');
  question.value = text;
  question.dispatchEvent(new Event('input'));
  question.focus();
  question.setSelectionRange(text.length, text.length);
}

/// A question about one post, for the reader to send or to change.
function askAbout(post) {
  if (narrow()) showFeed(false);
  fillQuestion(`What is behind this post by @${post.handle}: "${shorten(post.text.replace(/\s+/g, ' ').trim(), 180)}"?`);
}

/// A question about a story or a term, for the reader to send or to change.
function askOfRising(question) {
  if (narrow()) showFeed(false);
  fillQuestion(question);
}

let suggested = '';
function drawSuggestions() {
  const questions = suggestionsFor(feed.posts);
  // A button must not change under the finger.
  const busy = byId('suggestions').matches(':hover, :focus-within');
  if (questions.join('\n') === suggested || busy) return;
  suggested = questions.join('\n');
  byId('suggestions').replaceChildren(...questions.map((question) => h('button', {
    type: 'button', class: 'suggestion', onclick: () => ask(question),
  }, h('bdi', {}, question))));
}

function drawWelcome() {
  const posts = Number(status.data?.store?.posts ?? 0);
  const text = posts > 0 && clock.now !== null
    ? `Answers from ${posts.toLocaleString('en')} posts, as of ${absolute(clock.now)}. Every claim points to the post that says it.`
    : 'No posts have come in yet. As soon as they do, every claim in an answer points to the post that says it.';
  if (byId('welcome-line').textContent !== text) byId('welcome-line').textContent = text;
}

// --- status, keys, notices ---

function onStatus(data) {
  drawWelcome();
  byId('notice').hidden = status.reachable;
  if (!status.reachable) {
    byId('notice').className = 'notice error';
    byId('notice').replaceChildren(icon('warn'), h('div', {}, h('p', { class: 'notice-title' }, 'The server does not answer.'),
      h('p', {}, 'Start it again with ', h('code', {}, 'fathom serve'), '. This page connects again by itself.')));
  }
  const generate = byId('writer').querySelector('[value="generate"]');
  generate.disabled = data !== null && !status.hasModel;
  if (generate.disabled && byId('writer').value === 'generate') byId('writer').value = 'auto';
  const note = byId('model-note');
  note.hidden = data === null || status.hasModel;
  if (!note.hidden && note.childElementCount === 0) {
    note.append('No model is loaded: answers quote the posts. ',
      h('button', { type: 'button', class: 'text-button', onclick: () => byId('model-dialog').showModal() }, 'How to add a model'));
  }
}

function askForKey() {
  const dialog = byId('key-dialog');
  if (!dialog.open) dialog.showModal();
}

function initKey() {
  const dialog = byId('key-dialog');
  byId('key-cancel').addEventListener('click', () => dialog.close());
  byId('key-form').addEventListener('submit', () => {
    setKey(byId('key-input').value.trim());
    byId('key-input').value = '';
    status.refresh();
    feed.start();
    rising.refresh();
  });
}

// --- panes ---

const narrow = () => matchMedia('(max-width: 1080px)').matches;

function showFeed(open) {
  document.body.dataset.feed = open ? 'open' : 'closed';
  byId('feed-toggle').setAttribute('aria-expanded', String(open));
  byId('feed').hidden = !open;
}

function showHistory(open) {
  byId('history').hidden = !open;
  byId('history-toggle').setAttribute('aria-expanded', String(open));
  document.body.dataset.history = open ? 'open' : 'closed';
}

function drawHistory() {
  byId('history-list').replaceChildren(...history.list.map((item) => h('li', {},
    h('button', { type: 'button', class: 'history-item', 'aria-current': item.id === conversation?.id ? 'true' : null,
      onclick: () => { openConversation(item); if (narrow()) showHistory(false); } },
    h('bdi', { class: 'history-title' }, item.title), h('span', { class: 'quiet' }, absolute(item.started))),
    h('button', { type: 'button', class: 'icon-button small', title: 'Forget', 'aria-label': `Forget: ${item.title}`,
      onclick: () => forget(item.id) }, icon('close')))));
  byId('history-note').textContent = history.list.length === 0 ? 'Questions that you ask are kept here, in this browser only.'
    : history.persistent ? 'Kept in this browser only.' : 'This browser keeps nothing: they are gone when the page closes.';
  byId('history-clear').hidden = history.list.length === 0;
}

function forget(id) {
  forgotten.add(id);
  history.remove(id);
  if (id === conversation?.id) openConversation(null);
  drawHistory();
}

function initPanes() {
  setIcon(byId('history-toggle'), 'menu');
  setIcon(byId('feed-toggle'), 'feed');
  byId('feed-toggle').addEventListener('click', () => showFeed(byId('feed').hidden));
  byId('history-toggle').addEventListener('click', () => showHistory(byId('history').hidden));
  byId('new-conversation').addEventListener('click', () => { openConversation(null); if (narrow()) showHistory(false); });
  byId('history-clear').addEventListener('click', () => history.list.map((item) => item.id).forEach(forget));
  byId('brand').addEventListener('click', (event) => { event.preventDefault(); openConversation(null); });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !narrow() || byId('card').matches(':popover-open')) return;
    if (!byId('feed').hidden) showFeed(false);
    if (!byId('history').hidden) showHistory(false);
  });
  showFeed(!narrow());
  showHistory(false);
  matchMedia('(max-width: 1080px)').addEventListener('change', (event) => showFeed(!event.matches));
}

initTheme();
initComposer();
initKey();
initPanes();
drawEmptiness();
drawHistory();
feed.start();
rising.refresh();
byId('rising').open = innerHeight >= 700;
status.refresh();
setInterval(() => {
  if (views.length > 0) return;
  drawSuggestions();
  drawWelcome();
}, 1000);
if (!touch()) byId('question').focus({ preventScroll: true });
