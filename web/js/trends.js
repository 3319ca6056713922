// What is rising: stories with their headline, and the terms that are posted far more often than usual.

import { ApiError, getJson } from './api.js';
import { byId, h, icon } from './dom.js';
import { normalise, sourceName } from './post.js';
import { plural, shorten } from './text.js';
import { absolute, ago, parseTime } from './time.js';

const EVERY = 15_000;  // ms between two looks while the page is in view
const STORIES = 8;
const TERMS = 10;
const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 64;
const HEIGHT = 20;

/// The points of a line through the counts, as SVG writes them. Pure.
export function linePoints(volume, width = WIDTH, height = HEIGHT) {
  const counts = volume.length === 1 ? [0, ...volume] : volume;
  const most = Math.max(1, ...counts);
  return counts.map((count, i) => {
    const x = counts.length > 1 ? (i / (counts.length - 1)) * (width - 2) + 1 : 1;
    const y = height - 1 - (count / most) * (height - 3);
    return `${Math.round(x * 10) / 10},${Math.round(y * 10) / 10}`;
  }).join(' ');
}

/// Of a long story only the last hours, so that the line can be read.
function sparkline(volume) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute('class', 'sparkline');
  svg.setAttribute('aria-hidden', 'true');
  const line = document.createElementNS(SVG, 'polyline');
  line.setAttribute('points', linePoints(volume.slice(-72)));
  svg.append(line);
  return svg;
}

export class RisingPane {
  #clock;
  #onAsk;
  #onExplain;
  #timer = 0;
  #abort = null;
  #drawn = '';

  /// `onAsk(question)` fills the composer; `onExplain(post)` asks for a story's leading post to be explained.
  constructor(clock, { onAsk, onExplain }) {
    this.#clock = clock;
    this.#onAsk = onAsk;
    this.#onExplain = onExplain;
    document.addEventListener('visibilitychange', () => !document.hidden && this.refresh());
  }

  /// Looks now, and again and again from then on.
  async refresh() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    try {
      const [stories, trends] = await Promise.all([
        getJson(`/v1/stories?limit=${STORIES}`, signal), getJson(`/v1/trends?limit=${TERMS}`, signal)]);
      this.#draw(stories, trends);
    } catch (error) {
      if (error.name === 'AbortError') return;
      this.#fail(error);
    }
    if (!document.hidden && !signal.aborted) this.#timer = setTimeout(() => this.refresh(), EVERY);
  }

  #draw({ stories, as_of: asOf, sampled, young }, { trends }) {
    // What stays the same is left alone: focus and the reader's place are kept.
    const now = JSON.stringify([stories.map((s) => [s.id, s.headline, s.posts, s.volume]), trends.map((t) => [t.text, t.posts])]);
    byId('rising').hidden = false;
    if (now === this.#drawn) return;
    this.#drawn = now;
    const within = byId('rising').contains(document.activeElement) ? document.activeElement.dataset.id : null;
    byId('stories').replaceChildren(...stories.map((story) => this.#story(story)));
    byId('trend-terms').replaceChildren(...trends.map((trend) => this.#term(trend)));
    if (within) byId('rising').querySelector(`[data-id="${CSS.escape(within)}"]`)?.focus();
    byId('rising-terms-title').hidden = trends.length === 0;
    const notes = [];
    if (sampled < 0.995) notes.push(`Counted from ${Math.max(1, Math.round(sampled * 100))} % of the posts.`);
    if (young && stories.length > 0) notes.push('The feed is young: little to compare with yet.');
    byId('rising-note').textContent = notes.join(' ');
    byId('rising-note').hidden = notes.length === 0;
    const time = parseTime(asOf);
    byId('rising-time').textContent = time === null || stories.length === 0 ? '' : `as of ${absolute(time)}`;
    this.#say(stories.length + trends.length > 0 ? null
      : 'Nothing rises yet. Stories appear when several people post about the same thing.', 'empty');
  }

  #story(story) {
    const updated = parseTime(story.updated);
    const facts = [plural(story.posts, 'post'), plural(story.authors, 'author'),
      story.sources.length > 1 ? story.sources.map(({ source }) => sourceName(source)).join(', ') : null, updated === null ? null : ago(updated, this.#clock.now)];
    const headline = shorten(story.headline.replace(/\s*https?:\/\/\S+/g, '') || story.headline, 140);
    return h('li', { class: 'story-row' },
      h('button', { type: 'button', class: 'story', 'data-id': story.id, title: 'Ask about it', onclick: () => this.#onAsk(question(story)) },
        h('bdi', { class: 'story-headline' }, headline), sparkline(story.volume),
        h('span', { class: 'story-foot' }, facts.filter(Boolean).join(' \u00b7 '))),
      story.post ? h('button', { type: 'button', class: 'icon-button small', title: 'Explain its leading post', 'data-id': `explain ${story.id}`,
        onclick: () => this.#onExplain(normalise(story.post)) }, icon('explain'), h('span', { class: 'sr' }, `Explain the leading post of: ${headline}`)) : null);
  }

  #term(trend) {
    return h('li', {},
      h('button', { type: 'button', class: 'trend', 'data-id': `term ${trend.text}`,
        title: `${plural(trend.posts, 'post')} in the last hour, about ${Math.round(trend.expected)} expected. Ask about it`,
        onclick: () => this.#onAsk(`What is the latest on ${trend.text}?`) },
      h('bdi', {}, trend.text), h('span', { class: 'trend-count' }, trend.posts.toLocaleString('en')),
      h('span', { class: 'sr' }, ' posts in the last hour')));
  }

  #fail(error) {
    // A server without trends has nothing to show, which is no failure.
    if (error instanceof ApiError && error.code === 'no_trends') {
      byId('rising').hidden = true;
      return;
    }
    const denied = error instanceof ApiError && (error.status === 401 || error.status === 403);
    byId('rising').hidden = false;
    this.#say(denied ? 'This server asks for a key.' : 'What rises cannot be read now. Trying again.', 'error');
  }

  #say(text, kind) {
    const box = byId('rising-state');
    box.hidden = text === null;
    box.dataset.kind = text === null ? '' : kind;
    box.textContent = text ?? '';
  }
}

/// By its headline, which says what it is about.
function question(story) {
  const subject = story.terms.length > 0 ? story.terms.slice(0, 2).map((term) => term.text).join(', ') : shorten(story.headline, 60);
  return `What is the latest on ${subject}? (\u201c${shorten(story.headline.replace(/\s*https?:\/\/\S+/g, ''), 120)}\u201d)`;
}
