// What Fathom can read and write with, one click each: on the first run's page, and in the settings under Sources and Model.

import { ApiError, getJson, postJson, remove } from './api.js';
import { h, icon } from './dom.js';

const WHILE_FETCHING = 1000;  // ms between two looks at a model's progress

const PICTURES = { sample_world: 'explain', hackernews: 'trend', bluesky: 'thread', mastodon: 'thread', rss: 'feed' };
const EFFECTS = {
  restart: 'Fathom starts itself again with it. This page comes back by itself.',
  when_fetched: 'When it is here, Fathom starts itself again with it.',
};

const isModel = (offer) => offer.kind === 'model' || offer.id.startsWith('model:');
const pictureOf = (offer) => (isModel(offer) ? 'deep' : PICTURES[offer.id] ?? 'feed');

const megabytes = (bytes) => `${Math.round(bytes / 1e6).toLocaleString('en')} MB`;

function progressOf({ done = 0, total = 0 }) {
  const text = total > 0 ? `${megabytes(done)} of ${megabytes(total)}` : megabytes(done);
  return [h('progress', { max: total > 0 ? String(total) : null, value: total > 0 ? String(done) : null, 'aria-label': 'Fetched' }), h('span', { class: 'quiet' }, text)];
}

/// The server's setup, shared by those who show it. Tells of news with the event 'change'.
export class Setup extends EventTarget {
  data = null;       // GET /v1/setup; null before the first answer
  supported = true;  // false: a server without it
  #timer = 0;
  #busy = new Set();
  #failed = new Set();
  #said = new Map();  // id -> what came of the last click

  async refresh() {
    clearTimeout(this.#timer);
    try {
      this.data = await getJson('/v1/setup');
      this.supported = true;
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) this.supported = false;
    }
    this.dispatchEvent(new Event('change'));
    if (this.data?.offers?.some((offer) => this.#fetching(offer))) this.#timer = setTimeout(() => this.refresh(), WHILE_FETCHING);
  }

  #fetching(offer) {
    return Boolean(offer.progress) && !offer.progress.error && !offer.installed;
  }

  get mayChange() {
    return this.data?.may_change !== false;
  }

  async #act(id, action) {
    this.#busy.add(id);
    this.#said.delete(id);
    this.#failed.delete(id);
    this.dispatchEvent(new Event('change'));
    try {
      const answer = await action();
      if (EFFECTS[answer?.effect]) this.#said.set(id, EFFECTS[answer.effect]);
    } catch (error) {
      this.#failed.add(id);
      this.#said.set(id, `${error.message} ${error.advice ?? ''}`);
    }
    this.#busy.delete(id);
    await this.refresh();
    this.dispatchEvent(new Event('acted'));
  }

  add(id, address) {
    return this.#act(id, () => postJson('/v1/setup', address ? { id, address } : { id }));
  }

  removeSource(name) {
    return this.#act(`source ${name}`, () => remove(`/v1/setup/sources/${encodeURIComponent(name)}`));
  }

  said(id) {
    return this.#said.get(id) ?? '';
  }

  busy(id) {
    return this.#busy.has(id);
  }

  /// The offers that `wanted` takes, as cards.
  cards(wanted) {
    return h('ul', { class: 'offers' }, (this.data?.offers ?? []).filter(wanted).map((offer) => this.#card(offer)));
  }

  #card(offer) {
    const trouble = offer.progress?.error || offer.problem || '';
    const failed = trouble !== '' || this.#failed.has(offer.id);
    const said = trouble || (offer.installed ? '' : this.said(offer.id));
    return h('li', { class: 'offer', 'data-id': offer.id, 'data-installed': offer.installed ? 'true' : null },
      h('span', { class: 'offer-picture' }, icon(pictureOf(offer))),
      h('div', { class: 'offer-body' },
        h('h3', {}, offer.title ?? offer.id, offer.kind === 'world' ? h('span', { class: 'badge fiction' }, 'Fiction') : null),
        offer.description ? h('p', {}, offer.description) : null,
        said ? h('p', { class: failed ? 'offer-said failed' : 'offer-said', role: 'status' }, said) : null),
      this.#button(offer));
  }

  #button(offer) {
    if (offer.installed) return h('span', { class: 'offer-done' }, icon('check'), isModel(offer) ? 'Fetched' : 'Added');
    if (this.#fetching(offer)) return h('div', { class: 'offer-progress' }, progressOf(offer.progress));
    const verb = isModel(offer) ? 'Fetch' : 'Add';
    const disabled = this.busy(offer.id) || !this.mayChange;
    const button = (extra) => h('button', { class: 'button', disabled, ...extra }, this.busy(offer.id) ? 'One moment' : verb, h('span', { class: 'sr' }, ` ${offer.title ?? offer.id}`));
    if (!offer.needs) return button({ type: 'button', onclick: () => this.add(offer.id) });
    const field = h('input', { type: 'text', required: true, 'aria-label': `Address (${offer.title ?? offer.id})`, placeholder: offer.example || 'Address', autocomplete: 'off', spellcheck: 'false' });
    return h('form', { class: 'offer-form', onsubmit: (event) => { event.preventDefault(); this.add(offer.id, field.value.trim()); } }, field, button({ type: 'submit' }));
  }
}

export const sourceOffers = (offer) => !isModel(offer);
export const modelOffers = isModel;

/// What to type where the server has no setup of its own.
export function byCommand() {
  const line = (command, what) => h('li', { class: 'offer' }, h('span', { class: 'offer-picture' }, icon('feed')), h('div', { class: 'offer-body' }, h('h3', {}, what), h('p', {}, h('code', {}, command))));
  return h('ul', { class: 'offers' }, line('fathom serve --source world', 'The sample world, which is fiction'),
    line('fathom serve --source hackernews', 'Hacker News'), line('fathom sources add bluesky', 'Bluesky, and others: fathom sources kinds'));
}
