// A post as it is shown: in the feed, in a passage card and in the list of sources.

import { h, icon, outwardLink, safeUrl } from './dom.js';
import { absolute, ago, parseTime } from './time.js';

const NAMES = {
  hackernews: 'Hacker News', x: 'X', bluesky: 'Bluesky', mastodon: 'Mastodon', rss: 'RSS', world: 'Sample world', api: 'API', file: 'File',
};

export const sourceName = (source) => NAMES[source] ?? source;

/// The parts of a post that every view needs, whether it comes from the feed, from `read` or from a citation.
export function normalise(raw) {
  return {
    key: raw.key ?? `${raw.source}:${raw.id}`,
    source: raw.source ?? '',
    lang: raw.lang ?? '',
    handle: raw.author?.handle ?? '',
    name: raw.author?.name ?? '',
    text: raw.text ?? '',
    url: raw.url ?? '',
    time: parseTime(raw.created_at),
    fiction: Boolean(raw.fiction),
    tags: raw.tags ?? [],
  };
}

/// A square with the first letter: no picture is fetched from anywhere.
export function monogram(post) {
  const letter = [...(post.name || post.handle || '?').trim()].find((c) => /[\p{L}\p{N}]/u.test(c)) ?? '?';
  let hash = 0;
  for (const character of post.handle) hash = (hash * 31 + character.codePointAt(0)) % 997;
  return h('span', { class: 'monogram', 'data-tone': hash % 6, 'aria-hidden': 'true' }, letter.toUpperCase());
}

export function byline(post) {
  return h('span', { class: 'byline' },
    post.name && post.name !== post.handle ? h('bdi', { class: 'name' }, post.name) : null,
    h('bdi', { class: post.name && post.name !== post.handle ? 'handle' : 'name' }, `@${post.handle || 'unknown'}`));
}

export function badges(post) {
  return [
    post.source === 'world' && post.fiction ? null : h('span', { class: 'badge' }, sourceName(post.source)),
    post.fiction ? h('span', { class: 'badge fiction' }, 'Fiction') : null,
  ];
}

/// What can be done with a post: `onExplain(post)` asks for its context, `onAsk(post)` fills the composer.
export function postActions(post, { onAsk, onExplain }) {
  const whose = h('span', { class: 'sr' }, ` (post of @${post.handle})`);
  return [
    h('button', { type: 'button', class: 'text-button', title: 'What it is about, who wrote it and what else is said', onclick: () => onExplain(post) },
      icon('explain'), 'Explain', whose),
    h('button', { type: 'button', class: 'text-button', title: 'Put a question about it into the composer', onclick: () => onAsk(post) },
      icon('ask'), 'Ask', whose.cloneNode(true)),
  ];
}

/// '3 min ago', with the absolute time as its title and for machines; `refreshTimes` keeps it current.
export function timeElement(time, now, { long = false } = {}) {
  if (time === null) return null;
  const text = long ? `${ago(time, now)}, ${absolute(time, { utc: true })}` : ago(time, now);
  return h('time', { datetime: new Date(time).toISOString(), title: absolute(time, { seconds: true, utc: true }), 'data-long': long }, text);
}

export function refreshTimes(root, now) {
  for (const element of root.querySelectorAll('time[datetime]')) {
    const time = parseTime(element.getAttribute('datetime'));
    const text = element.hasAttribute('data-long') ? `${ago(time, now)}, ${absolute(time, { utc: true })}` : ago(time, now);
    if (element.textContent !== text) element.textContent = text;
  }
}

/// The post's own address, http(s) only, named by its host. Names under .invalid (RFC 2606) lead nowhere: the sample world's.
export function originalLink(post) {
  const url = safeUrl(post.url);
  if (!url || url.hostname.endsWith('.invalid')) return null;
  return outwardLink(url, h('span', { class: 'sr' }, 'Open on '), h('span', {}, url.hostname.replace(/^www\./, '')), icon('open'));
}
