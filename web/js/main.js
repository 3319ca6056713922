// The page put together: the conversation, the composer, the sidebar, the feed, the settings, the status.

import { setKey } from './api.js';
import { PassageCard } from './card.js';
import { Composer } from './composer.js';
import { ConversationView } from './conversation.js';
import { openConversations } from './conversations.js';
import { byId, h, icon, setIcon } from './dom.js';
import { FeedPane } from './feed.js';
import { initTheme, recall, remember } from './settings.js';
import { SettingsDialog } from './settings_dialog.js';
import { byCommand, modelOffers, Setup, sourceOffers } from './setup.js';
import { Shortcuts } from './shortcuts.js';
import { Sidebar } from './sidebar.js';
import { Status } from './status.js';
import { shorten } from './text.js';
import { absolute, FeedClock } from './time.js';
import { suggestionsFor } from './topics.js';
import { RisingPane } from './trends.js';

let store = null;  // where conversations are kept, once that is known

const clock = new FeedClock();
const actions = { onAsk: askAbout, onExplain: explain };
const card = new PassageCard(clock, actions, highlightClaim);
const setup = new Setup();
const status = new Status(clock, onStatus, askForKey, () => settings.open('model'));
const conversation = new ConversationView({ clock, card, actions, store: () => store, onError, onExport: exportOpen });
const sidebar = new Sidebar({
  store: () => store, current: () => conversation.id, onOpen: openConversation, onNew: newConversation, confirm, onError,
  onRenamed: (id, title) => conversation.rename(id, title),
  onRemoved: (id) => conversation.forget(id ?? conversation.id),
});
const composer = new Composer({ onSubmit: (question, choices) => conversation.ask(question, choices), onOptions: () => settings.open('answers'), onStop: () => conversation.stop() });
const settings = new SettingsDialog({ status, setup, confirm, onKey: reconnect });
const feed = new FeedPane(clock, actions, (state) => state === 'denied' && askForKey());
const rising = new RisingPane(clock, { onAsk: fillQuestion, onExplain: explain });

// --- asking ---

function fillQuestion(text) {
  if (narrow()) showFeed(false);
  composer.fill(text);
}

/// A question about one post, for the reader to send or to change.
function askAbout(post) {
  fillQuestion(`What is behind this post by @${post.handle}: "${shorten(post.text.replace(/\s+/g, ' ').trim(), 180)}"?`);
}

/// The post's context, at once.
function explain(post) {
  if (conversation.running) return;
  if (narrow()) showFeed(false);
  conversation.ask(`Explain this post by @${post.handle}: "${shorten(post.text.replace(/\s+/g, ' ').trim(), 280)}"`, { ...composer.choices, mode: 'explain', post });
}

/// Marks the claim that a chip supports, where the browser can (CSS Custom Highlight API).
function highlightClaim(citation) {
  if (!globalThis.CSS?.highlights) return;
  if (citation) CSS.highlights.set('claim', new Highlight(...citation.view.claimRanges(citation)));
  else CSS.highlights.delete('claim');
}

// --- conversations ---

async function openConversation(id) {
  try {
    conversation.show(await store.load(id));
    if (narrow()) showHistory(false);
    else composer.focus();
  } catch (error) {
    onError(error);
    sidebar.refresh();
  }
}

function newConversation() {
  conversation.show(null);
  if (narrow()) showHistory(false);
  if (!touch()) composer.focus();
}

function exportOpen(open, format) {
  if (open?.id && store) sidebar.export({ id: open.id, title: open.title }, format);
}

async function findStore() {
  try {
    store = await openConversations();
    await sidebar.refresh();
  } catch {
    // No answer, or a key is asked for: the next status that comes through tries again.
  }
}

function drawConversation() {
  const { empty } = conversation;
  document.body.dataset.empty = String(empty);
  byId('welcome').hidden = !empty;
  byId('suggestions').hidden = !empty;
  document.title = empty ? 'Fathom' : `${conversation.title} \u2013 Fathom`;
  composer.draw({ first: empty, running: conversation.running });
  for (const button of document.querySelectorAll('.again, .edit')) button.disabled = conversation.running;
  drawFirstRun();
  sidebar.mark();
}

conversation.addEventListener('change', drawConversation);
conversation.addEventListener('running', drawConversation);
conversation.addEventListener('kept', () => sidebar.refresh());

// --- the empty page ---

let suggested = '';
function drawSuggestions() {
  const questions = suggestionsFor(feed.posts);
  // A button must not change under the finger.
  const busy = byId('suggestions').matches(':hover, :focus-within');
  if (questions.join('\n') === suggested || busy) return;
  suggested = questions.join('\n');
  byId('suggestions').replaceChildren(...questions.map((question) => h('button', {
    type: 'button', class: 'suggestion', onclick: () => conversation.ask(question, composer.choices),
  }, h('bdi', {}, question))));
}

function drawWelcome() {
  const first = document.body.dataset.firstRun === 'true';
  document.querySelector('.welcome-title').textContent = first ? 'Welcome to Fathom' : 'What do you want to know?';
  const posts = Number(status.data?.store?.posts ?? 0);
  const text = posts > 0 && clock.now !== null
    ? `Answers from ${posts.toLocaleString('en')} posts, as of ${absolute(clock.now)}. Every claim points to the post that says it.`
    : 'No posts have come in yet. As soon as they do, every claim in an answer points to the post that says it.';
  if (byId('welcome-line').textContent !== text) byId('welcome-line').textContent = text;
}

/// Nothing is read and nothing was: the offers stand where the suggestions will.
function drawFirstRun() {
  const fresh = status.data !== null && Number(status.data.store?.posts ?? 0) === 0 && (status.data.sources ?? []).length === 0;
  const wanted = conversation.empty && fresh && (setup.data !== null || !setup.supported);
  const was = !byId('first-run').hidden;
  byId('first-run').hidden = !wanted;
  document.body.dataset.firstRun = String(wanted);
  if (was !== wanted) drawWelcome();
  if (!wanted) return;
  const typing = byId('first-run').contains(document.activeElement) && document.activeElement.matches('input');
  if (was && typing) return;
  const within = byId('first-run').contains(document.activeElement) ? document.activeElement.closest('[data-id]')?.dataset.id : null;
  byId('first-run-offers').replaceChildren(...(setup.supported ? [setup.cards(sourceOffers), h('h2', {}, 'Let a model write'), h('p', { class: 'first-run-line' }, 'Without one, answers are quotations from the posts.'), setup.cards(modelOffers)] : [byCommand()]));
  if (within) byId('first-run').querySelector(`[data-id="${CSS.escape(within)}"] button`)?.focus();
}

setup.addEventListener('change', drawFirstRun);
setup.addEventListener('acted', () => status.refresh());

// --- status, keys, notices ---

/// What can be removed and fetched changes with what the server reads and writes with, after its restart too.
let equipment = '';
function followEquipment({ sources = [], model = null }) {
  const now = JSON.stringify([sources.map((source) => source.name), model?.name]);
  if (now !== equipment && equipment !== '') setup.refresh();
  equipment = now;
}

function onStatus(data) {
  if (data) followEquipment(data);
  drawWelcome();
  drawNotice(status.reachable ? null : { title: 'The server does not answer.', text: ['Start it again with ', h('code', {}, 'fathom serve'), '. This page connects again by itself.'] });
  composer.drawModel(data !== null, status.hasModel);
  const note = byId('model-note');
  note.hidden = data === null || status.hasModel || document.body.dataset.firstRun === 'true';
  if (!note.hidden && note.childElementCount === 0) {
    note.append('No model is loaded: answers quote the posts. ', h('button', { type: 'button', class: 'text-button', onclick: () => settings.open('model') }, 'Add a model'));
  }
  drawFirstRun();
  if (byId('settings').open) settings.draw();
  if (data && !store) findStore();
}

let noticed = false;  // what stands in the notice is an error that the reader closes, not the server's absence
function drawNotice(notice) {
  const box = byId('notice');
  if (!notice) {
    if (!noticed) box.hidden = true;
    return;
  }
  noticed = Boolean(notice.closes);
  box.hidden = false;
  box.className = 'notice error';
  box.setAttribute('role', 'alert');
  box.replaceChildren(icon('warn'), h('div', { class: 'grow' }, h('p', { class: 'notice-title' }, notice.title), h('p', {}, notice.text)),
    notice.closes ? h('button', { type: 'button', class: 'icon-button small', title: 'Close', onclick: () => { noticed = false; box.hidden = true; } }, icon('close'), h('span', { class: 'sr' }, 'Close')) : '');
}

/// An error of a request: where an answer failed the turn says so, everything else is said at the top.
function onError(error) {
  if (error.status === 401) askForKey();
  else if (error.kind === 'network') status.refresh();
  else if (conversation.last?.turn.error?.message !== error.message) drawNotice({ title: error.message, text: error.advice ?? '', closes: true });
}

function askForKey() {
  const dialog = byId('key-dialog');
  if (!dialog.open) dialog.showModal();
}

function reconnect() {
  store = null;
  status.refresh();
  feed.start();
  rising.refresh();
  setup.refresh();
  composer.loadStyles();
}

function initKey() {
  byId('key-cancel').addEventListener('click', () => byId('key-dialog').close());
  byId('key-form').addEventListener('submit', () => {
    setKey(byId('key-input').value.trim());
    byId('key-input').value = '';
    reconnect();
  });
}

/// Asks in a dialog of the page; true when the reader agrees.
function confirm(title, text, verb = 'Delete') {
  const dialog = byId('confirm-dialog');
  byId('confirm-title').textContent = title;
  byId('confirm-text').textContent = text;
  byId('confirm-yes').textContent = verb;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => { dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }); });
}

// --- panes ---

const narrow = () => matchMedia('(max-width: 1080px)').matches;
const touch = () => matchMedia('(pointer: coarse)').matches;

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

/// Esc closes what lies over the conversation, and stops the answer when nothing does.
function onEscape(event) {
  if (event.key !== 'Escape' || event.defaultPrevented || document.querySelector('dialog[open], #card:popover-open, .menu:popover-open')) return;
  if (narrow() && !(byId('feed').hidden && byId('history').hidden)) {
    showFeed(false);
    showHistory(false);
  } else if (conversation.running) {
    conversation.stop();
  }
}

function initPanes() {
  setIcon(byId('history-toggle'), 'menu');
  setIcon(byId('feed-toggle'), 'feed');
  const toggleHistory = () => {
    showHistory(byId('history').hidden);
    if (!narrow()) remember('history', String(!byId('history').hidden));
  };
  byId('feed-toggle').addEventListener('click', () => showFeed(byId('feed').hidden));
  byId('history-toggle').addEventListener('click', toggleHistory);
  byId('brand').addEventListener('click', (event) => { event.preventDefault(); newConversation(); });
  document.addEventListener('keydown', onEscape);
  showFeed(!narrow());
  showHistory(!narrow() && (recall('history') ?? String(innerWidth >= 1400)) === 'true');
  matchMedia('(max-width: 1080px)').addEventListener('change', (event) => {
    showFeed(!event.matches);
    if (event.matches) showHistory(false);
  });
  new Shortcuts([
    ['/', 'Write a question', () => composer.focus()], ['n', 'New question', newConversation], ['e', 'Edit the last question', () => conversation.last?.edit()],
    ['r', 'Ask the last question again', () => conversation.again()], ['c', 'Copy the last answer', () => conversation.last?.copy()],
    ['h', 'Conversations', toggleHistory], ['f', 'Live feed', () => showFeed(byId('feed').hidden)], ['p', 'Pause the feed, or go on', () => feed.togglePause()],
    [',', 'Settings', () => settings.open('answers')],
  ]);
}

initTheme();
initKey();
initPanes();
drawConversation();
feed.start();
rising.refresh();
byId('rising').open = innerHeight >= 700;
status.refresh();
setup.refresh();
composer.loadStyles();
setInterval(() => {
  if (!conversation.empty) return;
  drawSuggestions();
  drawWelcome();
}, 1000);
if (!touch()) composer.focus({ preventScroll: true });
byId('unready').remove();
