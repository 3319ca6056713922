// What the server is and reads: the feed's clock in the header, the sources with their state, the model.

import { ApiError, getJson } from './api.js';
import { byId, h, icon } from './dom.js';
import { sourceName } from './post.js';
import { plural } from './text.js';
import { absolute, ago, parseTime } from './time.js';

const EVERY = 5000;

// A source's state as the server names it -> the dot's colour and the words beside it.
const STATES = {
  live: ['live', 'live'], connecting: ['waiting', 'connecting'], waiting: ['waiting', 'interrupted, tries again'],
  finished: ['done', 'read to its end'], failed: ['failed', 'failed'], stopped: ['done', 'stopped'],
};

const GONE = ['failed', 'not reachable'];

const seconds = (value) => (value < 1 ? `${Math.max(1, Math.round(value * 1000))} ms` : `${value < 10 ? value.toFixed(1) : Math.round(value)} s`);

/// How late posts can be found: half of them, and all but one in a hundred.
function lagOf(source) {
  if (!(source.lag_p50_seconds >= 0)) return '';
  return `, found ${seconds(source.lag_p50_seconds)} after they were written (one in a hundred later than ${seconds(source.lag_p99_seconds)})`;
}

/// What did not go well since the start, in few words; empty when all did.
function troubleOf(source) {
  const errors = Object.values(source.errors ?? {}).reduce((sum, count) => sum + count, 0);
  const parts = [
    errors > 0 ? plural(errors, 'error') : '',
    source.reconnects > 0 ? plural(source.reconnects, 'new connection') : '',
    source.rejected > 0 ? `${source.rejected} left out` : '',
    source.duplicates > 0 ? `${source.duplicates} already known` : '',
    source.skewed > 0 ? `${source.skewed} dated in the future` : '',
  ];
  return parts.filter(Boolean).join(', ');
}

/// The colour of a source's dot and the words beside it.
export const stateOf = (source) => STATES[source.state] ?? ['waiting', source.state];

/// What is known of a source, a line each: rate and lag, trouble, the last error, the next try.
export function sourceFacts(source) {
  const rate = source.per_second > 0 ? `, ${source.per_second >= 10 ? Math.round(source.per_second).toLocaleString('en') : source.per_second.toFixed(1)} a second` : '';
  return [`${plural(source.posts ?? 0, 'post')}${rate}${lagOf(source)}`, troubleOf(source), source.last_error,
    source.retry_in_seconds ? `Tries again in ${Math.ceil(source.retry_in_seconds)} s` : ''].filter(Boolean);
}

export class Status {
  #clock;
  #onKeyNeeded;
  #onChange;
  #onModel;
  #timer = 0;
  #reachable = true;
  #denied = false;
  data = null;

  /// `onChange(data)` after each reading; `onKeyNeeded()` when the server asks for a key; `onModel()` opens the settings of it.
  constructor(clock, onChange, onKeyNeeded, onModel) {
    this.#onModel = onModel;
    this.#clock = clock;
    this.#onChange = onChange;
    this.#onKeyNeeded = onKeyNeeded;
    clock.addEventListener('change', () => this.#drawClock());
    const toggle = byId('status-toggle');
    const panel = byId('status-panel');
    const show = (open) => {
      panel.hidden = !open;
      toggle.setAttribute('aria-expanded', String(open));
      if (open) this.#drawPanel();
    };
    toggle.addEventListener('click', () => show(panel.hidden));
    document.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || panel.hidden) return;
      if (panel.contains(document.activeElement)) toggle.focus();
      show(false);
    });
    document.addEventListener('pointerdown', (event) => {
      if (!panel.hidden && !panel.contains(event.target) && !toggle.contains(event.target)) show(false);
    });
    setInterval(() => this.#drawClock(), 1000);
  }

  get reachable() {
    return this.#reachable;
  }

  get hasModel() {
    return Boolean(this.data?.model);
  }

  async refresh() {
    clearTimeout(this.#timer);
    try {
      this.data = await getJson('/v1/status');
      this.#reachable = true;
      this.#denied = false;
      this.#clock.set(parseTime(this.data.feed_time));
    } catch (error) {
      this.#reachable = !(error instanceof ApiError && error.kind === 'network');
      this.#denied = error.status === 401 || error.status === 403;
      if (this.#denied) this.#onKeyNeeded();
    }
    this.#draw();
    this.#onChange(this.data);
    this.#timer = setTimeout(() => this.refresh(), this.#reachable ? EVERY : 1500);
  }

  #draw() {
    const fiction = Boolean(this.data?.fiction);
    byId('fiction-label').hidden = !fiction;
    byId('fiction-note').hidden = !fiction;
    this.#drawClock();
    this.#drawSources();
    if (!byId('status-panel').hidden) this.#drawPanel();
  }

  #drawClock() {
    const now = this.#clock.now;
    let text = 'Connecting';
    let state = 'waiting';
    if (!this.#reachable) {
      text = 'Server not reachable';
      state = 'failed';
    } else if (this.#denied) {
      text = 'A key is needed';
    } else if (now !== null && this.#clock.replayed) {
      text = `${absolute(now)}, replayed`;
      state = 'live';
    } else if (now !== null && this.#clock.stale) {
      text = `${absolute(now)}, nothing newer`;
      state = 'waiting';
    } else if (now !== null) {
      text = `${absolute(now)}, live`;
      state = 'live';
    } else if (this.data) {
      text = 'Waiting for the first post';
    }
    if (byId('clock-text').textContent !== text) byId('clock-text').textContent = text;
    byId('clock-label').textContent = this.#reachable && now !== null ? 'Feed clock ' : '';
    byId('clock-dot').dataset.state = state;
  }

  #stateOf(source) {
    return this.#reachable ? stateOf(source) : GONE;
  }

  #drawSources() {
    const items = (this.data?.sources ?? []).map((source) => {
      const [dot, words] = this.#stateOf(source);
      return h('li', { title: source.last_error || null }, h('span', { class: 'dot', 'data-state': dot }),
        h('span', {}, sourceName(source.name)), h('span', { class: 'quiet' }, words));
    });
    if (this.data && items.length === 0) {
      const [dot, words] = this.#reachable ? ['live', 'takes posts'] : GONE;
      items.push(h('li', {}, h('span', { class: 'dot', 'data-state': dot }), h('span', {}, 'API'), h('span', { class: 'quiet' }, words)));
    }
    byId('sources').replaceChildren(...items);
  }

  #drawPanel() {
    const { data } = this;
    const now = this.#clock.now;
    const row = (name, ...value) => h('div', { class: 'panel-row' }, h('dt', {}, name), h('dd', {}, value));
    const sources = (data?.sources ?? []).map((source) => {
      const [dot, words] = this.#stateOf(source);
      return h('li', {}, h('p', {}, h('span', { class: 'dot', 'data-state': dot }), h('strong', {}, sourceName(source.name)), ` ${words}`),
        sourceFacts(source).map((fact) => h('p', { class: 'quiet' }, fact)));
    });
    byId('status-panel').replaceChildren(
      this.#reachable ? '' : h('p', { class: 'notice error' }, icon('warn'), 'The server does not answer. Start it with fathom serve; this page comes back by itself.'),
      h('dl', {},
        row('Feed clock', now === null ? 'no post yet' : absolute(now, { seconds: true, utc: true }), h('p', { class: 'quiet' }, now === null ? 'It starts with the first post.'
          : this.#clock.replayed ? `The time of the newest post. 'Now' in questions and answers means this moment; on your wall it is ${absolute(Date.now())}.`
            : `The newest post is from ${ago(this.#clock.newest, Date.now())}.`)),
        row('Posts', data ? Number(data.store?.posts ?? 0).toLocaleString('en') : 'unknown'),
        row('Sources', sources.length > 0 ? h('ul', { class: 'panel-sources' }, sources)
          : ['None is read. Add one in the settings, or send posts to ', h('code', {}, 'POST /v1/posts'), '.']),
        row('Model', this.hasModel ? h('strong', {}, data.model.name) : 'None. Answers are quotations from posts.',
          this.hasModel && data.model.context ? h('p', { class: 'quiet' }, [data.model.quantisation, `${plural(data.model.context, 'token')} of context`].filter(Boolean).join(', ')) : null,
          this.hasModel ? null : h('p', {}, h('button', { type: 'button', class: 'text-button', onclick: () => this.#onModel() }, 'How to add a model'))),
        data?.version ? row('Fathom', `version ${data.version}`) : null));
  }
}
