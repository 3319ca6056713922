// One question and its answer: the steps while it works, the answer with its chips, its sources, its failures.

import { byId, h, icon } from './dom.js';
import { parseBlocks, renderBlock } from './markdown.js';
import { passageElement } from './card.js';
import { badges, byline, monogram, normalise, originalLink, timeElement } from './post.js';
import { CodePoints, finishedLength, plural, spoken } from './text.js';
import { absolute, parseTime } from './time.js';

const WRITERS = {
  extract: 'Quoted from the posts',
  generate: 'Written by the model, checked against the posts',
  none: 'No post was used',
};

/// A turn as it is kept: what was asked and what came back, as the server said it.
export function newTurn(question, writer) {
  return { question, wanted: writer, text: '', citations: [], read: [], steps: [], asOf: null, writer: null, fiction: false, state: 'working', error: null };
}

/// Takes one chunk of the stream into `turn`: steps, then the posts read, then text with the citations that it completes,
/// and at the end the outcome, which repeats steps and citations.
export function takeChunk(turn, chunk) {
  const choice = chunk.choices?.[0];
  if (typeof choice?.delta?.content === 'string') turn.text += choice.delta.content;
  if (choice?.finish_reason) turn.finish = choice.finish_reason;
  const extra = chunk.fathom;
  if (!extra) return;
  if (extra.step) turn.steps.push(extra.step);
  turn.steps = extra.steps ?? turn.steps;
  turn.read = extra.read ?? turn.read;
  for (const citation of extra.citations ?? []) {
    if (!turn.citations.some((known) => known.begin === citation.begin)) turn.citations.push(citation);
  }
  turn.asOf = extra.as_of ?? turn.asOf;
  turn.writer = extra.writer ?? turn.writer;
  turn.fiction = extra.fiction ?? turn.fiction;
}

/// The same words searched again, under wider conditions, are one line: what was found at most and read in all.
function distinct(steps) {
  const lines = new Map();
  for (const { query, found, read } of steps) {
    const line = lines.get(query) ?? { query, found: 0, read: 0 };
    lines.set(query, { query, found: Math.max(line.found, found), read: line.read + read });
  }
  return [...lines.values()];
}

export class TurnView {
  #turn;
  #deps;
  #blocks = [];  // {key, element}
  #textNodes = new Map();  // text node -> offset in the answer, for the claim's highlight
  #said = 0;
  #parts = {};

  /// `deps`: {clock, card, onAgain(turn), onAsk(post)}.
  constructor(turn, deps) {
    this.#turn = turn;
    this.#deps = deps;
    const part = (name, tag = 'div') => (this.#parts[name] = h(tag, { class: name }));
    this.element = h('article', { class: 'turn' },
      h('h2', { class: 'question', dir: 'auto' }, turn.question),
      part('steps'), part('answer'), part('failure'), part('meta'), part('cited'));
    this.#parts.answer.setAttribute('aria-busy', 'true');
    this.update();
    if (turn.state !== 'working') this.#said = turn.text.length;
  }

  get turn() {
    return this.#turn;
  }

  update() {
    const done = this.#turn.state !== 'working';
    this.#parts.answer.setAttribute('aria-busy', String(!done));
    this.element.dataset.state = this.#turn.state;
    this.#drawSteps(done);
    this.#drawAnswer();
    this.#drawFailure();
    this.#drawMeta(done);
    this.#drawSources(done);
    this.#announce(done);
  }

  // --- steps ---

  /// Open while it searches; one line once there is something to read.
  #drawSteps(done) {
    const { steps, text, read } = this.#turn;
    const settled = done || text !== '';
    const key = `${settled}|${steps.length}|${read.length}`;
    if (this.#parts.steps.dataset.key === key) return;
    this.#parts.steps.dataset.key = key;
    const searches = distinct(steps);
    const items = searches.map((step) => h('li', {}, icon('search'),
      h('span', {}, settled ? '' : 'Searching: ', h('q', {}, h('bdi', {}, step.query))),
      h('span', { class: 'quiet' }, `${plural(step.found, 'post')} found, ${step.read.toLocaleString('en')} read`)));
    if (!settled) {
      const now = read.length === 0 ? 'Searching the posts' : `Writing from ${plural(read.length, 'post')}`;
      this.#parts.steps.replaceChildren(h('ol', { class: 'steps-list' }, items, h('li', {}, h('span', { class: 'pulse' }), now)));
    } else if (items.length === 0) {
      this.#parts.steps.replaceChildren();
    } else {
      const taken = searches.reduce((sum, step) => sum + step.read, 0);
      const title = searches.length === 1 ? `Searched once: ${plural(searches[0].found, 'post')} found, ${taken.toLocaleString('en')} read`
        : `Searched ${searches.length} times: ${plural(taken, 'post')} read`;
      this.#parts.steps.replaceChildren(h('details', {}, h('summary', {}, title), h('ol', { class: 'steps-list' }, items)));
    }
  }

  // --- the answer ---

  #citations() {
    const { citations, text } = this.#turn;
    const offsets = new CodePoints(text);
    return citations.map((raw) => ({
      number: raw.number,
      post: normalise(raw),
      begin: offsets.toIndex(raw.begin),
      end: offsets.toIndex(raw.end),
      claimBegin: offsets.toIndex(raw.claim_begin),
      claimEnd: offsets.toIndex(raw.claim_end),
      passageBegin: raw.passage_begin,
      passageEnd: raw.passage_end,
      view: this,
    }));
  }

  #drawAnswer() {
    const { text, state, writer } = this.#turn;
    const citations = this.#citations();
    const chips = new Map();
    for (const citation of citations) {
      if (text.slice(citation.begin, citation.end) !== `[${citation.number}]`) continue;
      chips.set(citation.begin, { end: citation.end, make: () => this.#deps.card.chip(citation) });
    }
    // Only a model writes markup; quoted posts are shown to the letter.
    const markup = writer !== 'extract' && writer !== 'none';
    const blocks = parseBlocks(text);
    const keep = [];
    blocks.forEach((block, i) => {
      const cites = [...chips.keys()].filter((at) => at >= block.start && at < block.end).join();
      const key = `${markup}|${block.tight}|${block.start}|${block.end}|${cites}|${block.type}`;
      const old = this.#blocks[i];
      if (old?.key === key) {
        keep.push(old);
        return;
      }
      const onText = (node, offset) => this.#textNodes.set(node, offset);
      const element = renderBlock(text, block, { chips, markup, onText });
      if (old) old.element.replaceWith(element);
      else this.#parts.answer.append(element);
      keep.push({ key, element });
    });
    for (const old of this.#blocks.slice(blocks.length)) old.element.remove();
    this.#blocks = keep;
    for (const node of this.#textNodes.keys()) if (!node.isConnected && !this.#parts.answer.contains(node)) this.#textNodes.delete(node);
    this.#parts.answer.classList.toggle('writing', state === 'working' && text !== '');
  }

  /// Ranges of the words of a claim, for the CSS highlight.
  claimRanges(citation) {
    const ranges = [];
    for (const [node, offset] of this.#textNodes) {
      const from = Math.max(citation.claimBegin - offset, 0);
      const to = Math.min(citation.claimEnd - offset, node.length);
      if (from >= to) continue;
      const range = new Range();
      range.setStart(node, from);
      range.setEnd(node, to);
      ranges.push(range);
    }
    return ranges;
  }

  // --- below the answer ---

  #drawFailure() {
    const { state, error } = this.#turn;
    const box = this.#parts.failure;
    if (state === 'error') {
      box.replaceChildren(h('div', { class: 'notice error', role: 'alert' }, icon('warn'), h('div', {},
        h('p', { class: 'notice-title' }, error.message), h('p', {}, error.advice),
        error.requestId ? h('p', { class: 'quiet' }, `Request ${error.requestId}`) : null,
        h('button', { type: 'button', class: 'button', onclick: () => this.#deps.onAgain(this) }, 'Ask again'))));
    } else if (state === 'stopped') {
      box.replaceChildren(h('p', { class: 'quiet' }, 'You stopped this answer.'));
    } else {
      box.replaceChildren();
    }
  }

  #drawMeta(done) {
    if (!done) return;
    const { asOf, writer, finish, state, text, fiction } = this.#turn;
    const time = parseTime(asOf);
    const facts = [
      time ? h('span', { class: 'as-of' }, 'As of ', h('strong', {}, absolute(time, { seconds: true, utc: true }))) : null,
      writer ? h('span', {}, WRITERS[writer] ?? writer) : null,
      finish === 'length' ? h('span', {}, 'Cut off at the longest length') : null,
      fiction ? h('span', { class: 'badge fiction' }, 'Fiction: from the sample world') : null,
    ].filter(Boolean);
    const copy = h('button', { type: 'button', class: 'text-button', onclick: () => this.#copy(copy) }, icon('copy'), h('span', {}, 'Copy'));
    this.#parts.meta.replaceChildren(h('p', { class: 'facts' }, facts), h('div', { class: 'actions' },
      text ? copy : null,
      state === 'error' ? null : h('button', { type: 'button', class: 'text-button again', onclick: () => this.#deps.onAgain(this) }, icon('again'), h('span', {}, 'Ask again'))));
  }

  #drawSources(done) {
    if (!done) return;
    const citations = this.#citations();
    const cited = new Map();
    for (const citation of citations) if (!cited.has(citation.number)) cited.set(citation.number, citation);
    const keys = new Set(citations.map((citation) => citation.post.key));
    const uncited = this.#turn.read.map((raw) => normalise(raw)).filter((post) => !keys.has(post.key));
    if (cited.size + uncited.length === 0) {
      this.#parts.cited.replaceChildren();
      return;
    }
    const numbers = [...cited.values()].sort((a, b) => a.number - b.number);
    const title = `${numbers.length} cited${uncited.length > 0 ? `, ${uncited.length} read but not cited` : ''}`;
    const open = this.#parts.cited.querySelector('details')?.open ?? false;
    this.#parts.cited.replaceChildren(h('details', { class: 'source-panel', open },
      h('summary', {}, h('span', { class: 'stack' }, numbers.slice(0, 5).map(({ post }) => monogram(post))),
        h('span', { class: 'source-title' }, 'Sources'), h('span', { class: 'quiet' }, title)),
      numbers.length > 0 ? h('ol', { class: 'source-list' }, numbers.map((citation) => this.#sourceItem(citation.post, citation))) : null,
      uncited.length > 0 ? [h('h3', { class: 'source-heading' }, 'Read but not cited'),
        h('ul', { class: 'source-list uncited' }, uncited.map((post) => this.#sourceItem(post, null)))] : null));
  }

  #sourceItem(post, citation) {
    return h('li', { class: 'source' },
      h('span', { class: 'source-number', 'aria-hidden': citation ? null : 'true' }, citation ? String(citation.number) : '\u2013'),
      h('div', { class: 'source-body' },
        h('p', { class: 'source-who' }, byline(post), timeElement(post.time, this.#deps.clock.now), badges(post)),
        citation ? passageElement(citation) : h('p', { class: 'passage', dir: 'auto' }, post.text.length > 400 ? `${post.text.slice(0, 400)}\u2026` : post.text),
        h('p', { class: 'source-actions' }, originalLink(post),
          h('button', { type: 'button', class: 'text-button', onclick: () => this.#deps.onAsk(post) }, icon('ask'), 'Ask about it'))));
  }

  async #copy(button) {
    const { question, text, asOf } = this.#turn;
    const sources = new Map(this.#citations().map(({ number, post }) => [number, post]));
    const list = [...sources].sort(([a], [b]) => a - b)
      .map(([number, post]) => `[${number}] @${post.handle}${post.time ? `, ${absolute(post.time)}` : ''}${post.url ? `, ${post.url}` : ''}`);
    const asOfTime = parseTime(asOf);
    const whole = [question, '', text.trim(), '', ...list, asOfTime ? `As of ${absolute(asOfTime, { seconds: true, utc: true })}` : ''].join('\n').trim();
    const label = button.querySelector('span');
    try {
      await navigator.clipboard.writeText(whole);
      label.textContent = 'Copied';
    } catch {
      label.textContent = 'The browser forbids copying';
    }
    setTimeout(() => { label.textContent = 'Copy'; }, 2000);
  }

  /// Reads finished sentences into the page's log, so that a screen reader hears sentences and not tokens.
  #announce(done) {
    const { text, state } = this.#turn;
    const end = done ? text.length : finishedLength(text);
    if (end <= this.#said) return;
    const sentence = spoken(text.slice(this.#said, end));
    this.#said = end;
    if (sentence && state !== 'restored') byId('announcer').append(h('p', {}, sentence));
    while (byId('announcer').childElementCount > 40) byId('announcer').firstChild.remove();
  }
}
