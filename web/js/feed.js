// The live feed pane: newest posts first, held still while somebody reads them.

import { ApiError, followFeed } from './api.js';
import { byId, h, setIcon } from './dom.js';
import { badges, byline, monogram, normalise, originalLink, postActions, refreshTimes, sourceName, timeElement } from './post.js';
import { plural, shorten } from './text.js';
import { parseTime } from './time.js';

const KEPT = 400;       // posts in memory
const BACKLOG = 100;    // posts asked for at the start
const SHOWN = 60;       // posts in the page
const REDRAW = 250;     // ms between two redraws
const WINDOW = 10_000;  // ms over which the rate is taken
const AWAY = 60_000;    // ms in the background after which the stream is given up until the page is back

function languageName(code) {
  try {
    return new Intl.DisplayNames(['en'], { type: 'language' }).of(code) ?? code;
  } catch {
    return code;  // no tag of a language
  }
}

/// `@handle` asks for the author, any other word for the text. Pure.
export function matches(post, words) {
  const text = `${post.text} ${post.name} ${post.source}`.toLowerCase();
  const author = `@${post.handle}`.toLowerCase();
  return words.every((word) => (word.startsWith('@') ? author.startsWith(word) || text.includes(word) : text.includes(word) || author.includes(word)));
}

export class FeedPane {
  #posts = [];    // newest first
  #waiting = [];  // arrived while the pane was held
  #arrivals = [];
  #lastId = '';
  #started = 0;
  #timer = 0;
  #away = 0;
  #stop = null;
  #delay = 500;
  #paused = false;
  #reading = false;
  #only = { source: '', lang: '' };
  #known = { source: new Set(), lang: new Set() };
  #clock;
  #actions;
  #onState;
  #list = byId('posts');

  /// `actions` as postActions takes them. `onState('live'|'waiting'|'denied')` tells of the connection.
  constructor(clock, actions, onState) {
    this.#clock = clock;
    this.#actions = actions;
    this.#onState = onState;
    setIcon(byId('feed-pause'), 'pause');
    byId('feed-pause').addEventListener('click', () => this.#setPaused(!this.#paused));
    byId('feed-new').addEventListener('click', () => this.#release());
    byId('feed-filter').addEventListener('input', () => this.#draw());
    this.#initFilters();
    const hold = (reading) => () => { this.#reading = reading; this.#schedule(); };
    this.#list.addEventListener('pointerenter', (event) => event.pointerType === 'mouse' && hold(true)());
    this.#list.addEventListener('pointerleave', hold(false));
    this.#list.addEventListener('focusin', hold(true));
    this.#list.addEventListener('focusout', (event) => !this.#list.contains(event.relatedTarget) && hold(false)());
    this.#list.addEventListener('scroll', () => this.#schedule(), { passive: true });
    document.addEventListener('visibilitychange', () => this.#visibility());
    setInterval(() => this.#tick(), 1000);
  }

  /// The newest posts in memory, newest first.
  get posts() {
    return [...this.#waiting, ...this.#posts];
  }

  // --- filters: the server's for source and language, words and authors here ---

  #initFilters() {
    const toggle = byId('feed-filter-toggle');
    setIcon(toggle, 'filter');
    toggle.addEventListener('click', () => {
      const open = byId('feed-filters').hidden;
      byId('feed-filters').hidden = !open;
      toggle.setAttribute('aria-expanded', String(open));
    });
    for (const name of ['source', 'lang']) {
      byId(`feed-${name}`).addEventListener('change', (event) => {
        this.#only[name] = event.currentTarget.value;
        toggle.setAttribute('aria-pressed', String(Boolean(this.#only.source || this.#only.lang)));
        this.#restart();
      });
    }
  }

  /// The choices are what has come by.
  #drawChoices() {
    for (const [name, label] of [['source', sourceName], ['lang', languageName]]) {
      const select = byId(`feed-${name}`);
      for (const post of this.#posts) if (post[name]) this.#known[name].add(post[name]);
      if (select.options.length - 1 === this.#known[name].size) continue;
      const options = [...this.#known[name]].map((value) => [value, label(value)]).sort((a, b) => a[1].localeCompare(b[1], 'en'));
      select.replaceChildren(h('option', { value: '' }, 'All'), ...options.map(([value, text]) => h('option', { value }, text)));
      select.value = this.#only[name];
    }
  }

  #restart() {
    this.#lastId = '';
    this.#posts = [];
    this.#waiting = [];
    this.#arrivals = [];
    this.#draw();
    this.start();
  }

  // --- the stream ---

  togglePause() {
    this.#setPaused(!this.#paused);
  }

  start() {
    this.#stop?.abort();
    this.#stop = new AbortController();
    this.#follow(this.#stop.signal);
  }

  async #follow(signal) {
    while (!signal.aborted) {
      let denied = false;
      try {
        const opened = () => {
          this.#delay = 500;
          this.#started = Date.now();
          this.#onState('live');
          this.#say(null);
        };
        for await (const event of followFeed(this.#lastId, { backlog: BACKLOG, ...this.#only }, signal, opened)) this.#takeEvent(event);
      } catch (error) {
        if (signal.aborted) return;
        denied = error instanceof ApiError && (error.status === 401 || error.status === 403);
      }
      if (signal.aborted) return;
      this.#onState(denied ? 'denied' : 'waiting');
      if (denied) {
        this.#say('This server asks for a key.');
        return;
      }
      this.#say('The feed is interrupted. Trying again.');
      await new Promise((resolve) => { setTimeout(resolve, this.#delay); });
      this.#delay = Math.min(this.#delay * 2, 8000);
    }
  }

  #takeEvent({ event, id, data }) {
    if (id) this.#lastId = id;
    if (event === 'clock') this.#clock.advance(parseTime(data.feed_time));
    else if (event === 'delete') this.#remove(data.key);
    else if (event === 'post') this.#take(normalise(data));
  }

  #remove(key) {
    for (const list of [this.#waiting, this.#posts]) {
      const at = list.findIndex((post) => post.key === key);
      if (at >= 0) list.splice(at, 1);
    }
    this.#schedule();
  }

  #take(post) {
    // What the server replays at the start of a connection is no sign of how fast posts come in.
    if (Date.now() - this.#started > 1500) this.#arrivals.push(Date.now());
    this.#clock.advance(post.time);
    this.#remove(post.key);
    this.#waiting.unshift(post);
    if (this.#waiting.length > KEPT) this.#waiting.length = KEPT;
  }

  get #held() {
    return this.#posts.length > 0 && (this.#paused || this.#reading || this.#list.scrollTop > 24);
  }

  #setPaused(paused) {
    this.#paused = paused;
    const button = byId('feed-pause');
    button.setAttribute('aria-pressed', String(paused));
    button.title = paused ? 'Go on' : 'Pause';
    setIcon(button, paused ? 'play' : 'pause');
    if (!paused) this.#reading = false;
    this.#schedule();
  }

  #release() {
    this.#setPaused(false);
    this.#list.scrollTop = 0;
    this.#merge();
  }

  #schedule() {
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      if (this.#held) this.#drawHeld();
      else this.#merge();
    }, REDRAW);
  }

  #merge() {
    const fresh = new Set(this.#waiting.map((post) => post.key));
    this.#posts = [...this.#waiting, ...this.#posts].slice(0, KEPT);
    this.#waiting = [];
    this.#draw(fresh);
  }

  #draw(fresh = new Set()) {
    const words = byId('feed-filter').value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = this.#posts.filter((post) => matches(post, words)).slice(0, SHOWN);
    const old = new Map([...this.#list.children].map((item) => [item.dataset.key, item]));
    const items = shown.map((post) => old.get(post.key) ?? this.#item(post, fresh.has(post.key) && old.size > 0));
    // A post that was replaced under its key is drawn anew.
    for (const [i, post] of shown.entries()) if (fresh.has(post.key) && old.has(post.key)) items[i] = this.#item(post, false);
    this.#list.replaceChildren(...items);
    refreshTimes(this.#list, this.#clock.now);
    this.#drawHeld();
    this.#drawEmpty(words.length > 0 || Boolean(this.#only.source || this.#only.lang));
    this.#drawChoices();
  }

  #item(post, fresh) {
    return h('li', { class: fresh ? 'post fresh' : 'post', 'data-key': post.key },
      h('article', {},
        h('p', { class: 'post-head' }, monogram(post), byline(post), timeElement(post.time, this.#clock.now)),
        h('p', { class: 'post-text', dir: 'auto' }, shorten(post.text, 700)),
        h('p', { class: 'post-foot' }, badges(post), originalLink(post), h('span', { class: 'grow' }), postActions(post, this.#actions))));
  }

  #drawHeld() {
    const button = byId('feed-new');
    const count = this.#waiting.length;
    button.hidden = !(this.#held && count > 0);
    if (!button.hidden) button.textContent = `${count === KEPT ? `${KEPT}+ new posts` : plural(count, 'new post')}`;
  }

  #drawEmpty(filtered) {
    if (this.#list.childElementCount > 0) {
      if (byId('feed-state').dataset.kind === 'empty') this.#say(null);
    } else if (byId('feed-state').dataset.kind !== 'error') {
      this.#say(filtered ? 'No recent post matches the filter.' : 'No posts yet. They appear here the moment they arrive.', 'empty');
    }
  }

  #say(text, kind = 'error') {
    const box = byId('feed-state');
    box.hidden = text === null;
    box.dataset.kind = text === null ? '' : kind;
    box.textContent = text ?? '';
    if (text === null && this.#posts.length + this.#waiting.length === 0) this.#drawEmpty(byId('feed-filter').value !== '');
  }

  #tick() {
    const now = Date.now();
    this.#arrivals = this.#arrivals.filter((time) => time > now - WINDOW);
    const perSecond = this.#arrivals.length / (Math.min(WINDOW, Math.max(1000, now - this.#started - 1500)) / 1000);
    const rate = byId('feed-rate');
    const text = perSecond === 0 ? '' : perSecond >= 1 ? `${perSecond < 10 ? Math.round(perSecond * 10) / 10 : Math.round(perSecond)} posts/s` : `${Math.round(perSecond * 60)} posts/min`;
    const state = this.#paused ? 'paused' : this.#held && this.#reading ? 'held while you read' : text;
    if (rate.textContent !== state) rate.textContent = state;
    if (now % 5000 < 1000) refreshTimes(this.#list, this.#clock.now);
  }

  #visibility() {
    clearTimeout(this.#away);
    if (document.hidden) {
      this.#away = setTimeout(() => {
        this.#stop?.abort();
        this.#stop = null;
      }, AWAY);
    } else if (!this.#stop) {
      this.#lastId = '';  // what was missed is of no interest, only what is newest
      this.start();
    }
  }
}
