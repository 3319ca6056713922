// What an answer does before it is written: its plan, its searches, its thoughts. Open while it works, one line afterwards.

import { h, icon } from './dom.js';
import { plural } from './text.js';

const TOOLS = {
  search_posts: ['search', 'Searching', 'Searched'], get_thread: ['thread', 'Reading the thread of', 'Read the thread of'],
  get_trends: ['trend', 'Looking at what rises', 'Looked at what rises'], get_author: ['person', 'Looking up', 'Looked up'],
};

/// The same words searched again for the same question, under wider conditions, are one line: what was found at most and
/// read in all.
function distinct(steps) {
  const lines = new Map();
  for (const step of steps) {
    const key = [step.tool, step.question, step.query].join('\n');
    const line = lines.get(key) ?? { ...step, found: 0, read: 0 };
    lines.set(key, { ...line, found: Math.max(line.found, step.found), read: line.read + step.read });
  }
  return [...lines.values()];
}

function stepLine(step, settled) {
  const [picture, now, then] = TOOLS[step.tool] ?? TOOLS.search_posts;
  return h('li', {}, icon(picture),
    h('span', {}, `${settled ? then : now} `, step.query ? h('q', {}, h('bdi', {}, step.query)) : null),
    h('span', { class: 'quiet' }, `${plural(step.found, 'post')} found, ${step.read.toLocaleString('en')} read`));
}

/// The questions of a deep answer with the searches of each; done is what a later question has been searched after.
function planList(plan, searches, settled) {
  const reached = plan.findLastIndex((question) => searches.some((step) => step.question === question));
  return h('ol', { class: 'plan', 'aria-label': 'Plan' }, plan.map((question, i) => {
    const mine = searches.filter((step) => step.question === question);
    const state = settled || i < reached ? 'done' : i === reached ? 'now' : 'open';
    const words = { done: 'done', now: 'at work', open: 'to come' }[state];
    return h('li', { 'data-state': state },
      state === 'now' ? h('span', { class: 'pulse' }) : icon(state === 'done' ? 'check' : 'dot'),
      h('div', {}, h('p', {}, h('bdi', {}, question), h('span', { class: 'sr' }, ` (${words})`)),
        mine.length > 0 ? h('ol', { class: 'steps-list' }, mine.map((step) => stepLine(step, settled))) : null));
  }));
}

function summaryOf(searches, plan) {
  const taken = searches.reduce((sum, step) => sum + step.read, 0);
  const read = `${taken.toLocaleString('en')} read`;
  if (plan.length > 0) return `${plural(plan.length, 'question')}, ${plural(searches.length, 'search', 'searches')}: ${plural(taken, 'post')} read`;
  return searches.length === 1 ? `Searched once: ${plural(searches[0].found, 'post')} found, ${read}`
    : `Searched ${searches.length} times: ${plural(taken, 'post')} read`;
}

export class StepsView {
  element = h('div', { class: 'steps' });
  #key = '';

  update({ steps, plan, text, thought, read, mode, state }) {
    const settled = state !== 'working' || text !== '';
    const key = [settled, steps.length, plan.length, read.length, thought !== ''].join();
    if (this.#key === key) return;
    this.#key = key;
    const searches = distinct(steps);
    const loose = searches.filter((step) => !plan.includes(step.question));
    const lists = (items) => [plan.length > 0 ? planList(plan, searches, settled) : null,
      items.length > 0 ? h('ol', { class: 'steps-list' }, items) : null];
    const lines = loose.map((step) => stepLine(step, settled));
    if (!settled) {
      const now = read.length > 0 ? `Writing from ${plural(read.length, 'post')}`
        : mode === 'deep' && plan.length === 0 ? 'Planning what to find out' : 'Searching the posts';
      this.element.replaceChildren(...lists(thought === '' ? [...lines, h('li', {}, h('span', { class: 'pulse' }), now)] : lines).filter(Boolean));
    } else if (searches.length + plan.length === 0) {
      this.element.replaceChildren();
    } else {
      const open = this.element.querySelector('details')?.open ?? false;
      this.element.replaceChildren(h('details', { open }, h('summary', {}, summaryOf(searches, plan)), lists(lines)));
    }
  }
}

/// What the model thought aloud: folded, and said to be no part of the answer.
export class ThoughtView {
  element = h('div', { class: 'thought' });
  #body = h('p', { class: 'thought-text', dir: 'auto' });
  #summary = h('span', {});
  #pulse = h('span', { class: 'pulse' });
  #from = 0;

  update({ thought, text, state }) {
    if (!thought) return;
    if (this.element.childElementCount === 0) {
      this.#from = performance.now();
      this.element.append(h('details', {}, h('summary', {}, this.#pulse, icon('thought'), this.#summary),
        h('p', { class: 'quiet' }, 'The model\u2019s own thoughts. They are not checked and cite nothing.'), this.#body));
    }
    const busy = state === 'working' && text === '';
    this.#pulse.hidden = !busy;
    const words = busy ? 'Thinking\u2026' : 'Thoughts';
    if (this.#summary.textContent !== words) {
      const took = Math.round((performance.now() - this.#from) / 1000);
      this.#summary.textContent = words;
      if (!busy && took >= 1 && state === 'working') this.#summary.append(h('span', { class: 'quiet' }, ` ${took} s`));
    }
    if (this.#body.textContent !== thought) this.#body.textContent = thought;
  }
}
