// 'N new posts since this answer': looks now and then whether the feed brought posts that what was asked would find.

import { getJson } from './api.js';
import { h, icon } from './dom.js';
import { plural } from './text.js';
import { parseTime } from './time.js';

const EVERY = 15_000;  // ms between two looks
const MOST = 50;       // posts counted

/// The line under an answer and its button; empty for none.
export function newPostsLine(count, more, onAgain) {
  if (count === 0) return [];
  return [h('span', {}, `${more ? `${count.toLocaleString('en')}+ new posts` : plural(count, 'new post')} since this answer`),
    h('button', { type: 'button', class: 'text-button', onclick: onAgain }, icon('again'), 'Ask again with them')];
}

/// Of the hits, those that hold at least half of the words that were searched for.
function close(found) {
  const enough = Math.max(1, Math.ceil((found.terms?.length ?? 0) / 2));
  return found.hits.filter((hit) => hit.matched_terms >= enough);
}

/// How many posts written after the answer its first search would find: {count, more}.
async function countNew(turn, signal) {
  const since = parseTime(turn.asOf);
  const query = turn.steps.find((step) => step.query && (step.tool ?? 'search_posts') === 'search_posts')?.query;
  if (since === null || !query) return { count: 0, more: false };
  const parameters = new URLSearchParams({ q: query, since: new Date(since + 1).toISOString(), limit: String(MOST), order: 'newest', mode: 'words' });
  const found = await getJson(`/v1/search?${parameters}`, signal);
  const read = new Set(turn.read.map((post) => post.key ?? `${post.source}:${post.id}`));
  const hits = close(found).filter((hit) => !read.has(hit.post.key));
  return { count: hits.length, more: hits.length === MOST };
}

/// Watches the newest answer of the page. One at a time.
export class FreshWatch {
  #timer = 0;
  #abort = null;

  /// `view`: a TurnView whose answer is done, or null.
  watch(view) {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    if (!view || view.turn.state !== 'done' || view.turn.steps.length === 0) return;
    this.#abort = new AbortController();
    this.#look(view, this.#abort.signal, 3000);
  }

  #look(view, signal, after) {
    this.#timer = setTimeout(async () => {
      try {
        if (!document.hidden) {
          const { count, more } = await countNew(view.turn, signal);
          if (!signal.aborted) view.showFresh(count, more);
        }
      } catch {
        // A search that fails leaves the line as it was; the status says when the server is gone.
      }
      if (!signal.aborted) this.#look(view, signal, EVERY);
    }, after);
  }
}
