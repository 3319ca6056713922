// The panel under an answer: the posts that it cites with the supporting words marked, and those that were read but not cited.

import { passageElement } from './card.js';
import { h } from './dom.js';
import { badges, byline, monogram, normalise, originalLink, postActions, timeElement } from './post.js';
import { shorten } from './text.js';
import { citationsOf, sourcesOf } from './turn_data.js';

const LONGEST = 400;  // characters shown of a post that is not cited

function sourceItem(post, citation, deps) {
  return h('li', { class: 'source' },
    h('span', { class: 'source-number', 'aria-hidden': citation ? null : 'true' }, citation ? String(citation.number) : '\u2013'),
    h('div', { class: 'source-body' },
      h('p', { class: 'source-who' }, byline(post), timeElement(post.time, deps.clock.now), badges(post)),
      citation ? passageElement(citation) : h('p', { class: 'passage', dir: 'auto' }, shorten(post.text, LONGEST)),
      h('p', { class: 'source-actions' }, originalLink(post), postActions(post, deps.actions))));
}

/// Null when nothing was read. `deps`: {clock, actions}.
export function sourcesPanel(turn, open, deps) {
  const cited = sourcesOf(turn);
  const keys = new Set(citationsOf(turn).map((citation) => citation.post.key));
  const uncited = turn.read.map((raw) => normalise(raw)).filter((post) => !keys.has(post.key));
  if (cited.length + uncited.length === 0) return null;
  const title = `${cited.length} cited${uncited.length > 0 ? `, ${uncited.length} read but not cited` : ''}`;
  return h('details', { class: 'source-panel', open },
    h('summary', {}, h('span', { class: 'stack' }, cited.slice(0, 5).map(({ post }) => monogram(post))),
      h('span', { class: 'source-title' }, 'Sources'), h('span', { class: 'quiet' }, title)),
    cited.length > 0 ? h('ol', { class: 'source-list' }, cited.map((citation) => sourceItem(citation.post, citation, deps))) : null,
    uncited.length > 0 ? [h('h3', { class: 'source-heading' }, 'Read but not cited'),
      h('ul', { class: 'source-list uncited' }, uncited.map((post) => sourceItem(post, null, deps)))] : null);
}
