// One question and its answer: what it does while it works, the answer with its chips, its sources, its failures.

import { byId, h, icon } from './dom.js';
import { newPostsLine } from './fresh.js';
import { parseBlocks, renderBlock } from './markdown.js';
import { byline, monogram, timeElement } from './post.js';
import { sourcesPanel } from './sources_panel.js';
import { StepsView, ThoughtView } from './steps.js';
import { finishedLength, shorten, spoken } from './text.js';
import { absolute, parseTime } from './time.js';
import { citationsOf, plainText } from './turn_data.js';

const WRITERS = {
  extract: 'Quoted from the posts',
  generate: 'Written by the model, checked against the posts',
  none: 'No post was used',
};

const MODES = { digest: ['digest', 'Digest'], deep: ['deep', 'Deep answer'], explain: ['explain', 'A post explained'] };

const action = (name, picture, text, onclick, extra = {}) => h('button', { type: 'button', class: `text-button ${name}`, onclick, ...extra }, icon(picture), h('span', {}, text));

export class TurnView {
  #turn;
  #deps;
  #blocks = [];  // {key, element}
  #textNodes = new Map();  // text node -> offset in the answer, for the claim's highlight
  #said = 0;
  #parts = {};
  #steps = new StepsView();
  #thought = new ThoughtView();

  /// `deps`: {clock, card, actions, onAgain(view), onEdit(view, question), onExport(format)}.
  constructor(turn, deps) {
    this.#turn = turn;
    this.#deps = deps;
    const part = (name, tag = 'div') => (this.#parts[name] = h(tag, { class: name }));
    this.element = h('article', { class: 'turn' }, part('asked'), this.#steps.element, this.#thought.element, part('answer'),
      part('failure'), part('meta'), part('newer'), part('cited'));
    this.#drawQuestion();
    this.#parts.answer.setAttribute('aria-busy', 'true');
    this.#parts.newer.setAttribute('role', 'status');
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
    this.#steps.update(this.#turn);
    this.#thought.update(this.#turn);
    this.#drawAnswer();
    this.#drawFailure();
    if (done) {
      this.#drawMeta();
      this.#drawSources();
    }
    this.#announce(done);
  }

  /// `count` posts that match what was asked came in since; 0 says nothing.
  showFresh(count, more) {
    this.#parts.newer.replaceChildren(...newPostsLine(count, more, () => this.#deps.onAgain(this)));
  }

  // --- the question ---

  #drawQuestion() {
    const { question, mode, post } = this.#turn;
    const [picture, name] = MODES[mode] ?? [];
    this.#parts.asked.replaceChildren(...[
      name ? h('p', { class: 'mode-name' }, icon(picture), name) : null,
      mode === 'explain' ? h('h2', { class: 'question sr' }, question) : h('div', { class: 'question-row' },
        h('h2', { class: 'question', dir: 'auto' }, question),
        h('button', { type: 'button', class: 'icon-button small edit', title: 'Edit the question', onclick: () => this.edit() }, icon('edit'), h('span', { class: 'sr' }, 'Edit the question'))),
      mode === 'explain' ? h('blockquote', { class: 'explained' },
        h('p', { class: 'source-who' }, monogram(post), byline(post), timeElement(post.time, this.#deps.clock.now)),
        h('p', { class: 'passage', dir: 'auto' }, shorten(post.text, 700))) : null,
    ].filter(Boolean));
  }

  /// The question in a field of its own; asking again replaces this turn and those after it.
  edit() {
    if (this.#turn.mode === 'explain') return;
    const field = h('textarea', { class: 'edit-field', 'aria-label': 'The question', maxlength: '8000', rows: String(Math.min(8, this.#turn.question.split('\n').length + 1)) });
    field.value = this.#turn.question;
    const close = () => {
      this.#drawQuestion();
      this.#parts.asked.querySelector('.edit')?.focus();
    };
    const form = h('form', { class: 'edit-form', onsubmit: (event) => {
      event.preventDefault();
      const text = field.value.trim();
      if (text !== '') this.#deps.onEdit(this, text);
    } }, field, h('div', { class: 'edit-row' }, h('p', { class: 'quiet' }, 'This answer and those after it are replaced.'),
      h('button', { type: 'button', class: 'text-button', onclick: close }, 'Cancel'), h('button', { class: 'button' }, 'Ask')));
    field.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') {
        event.stopPropagation();
        close();
      } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    this.#parts.asked.replaceChildren(form);
    field.focus();
  }

  // --- the answer ---

  #drawAnswer() {
    const { text, state, wrote } = this.#turn;
    const citations = citationsOf(this.#turn);
    const chips = new Map();
    for (const citation of citations) {
      if (text.slice(citation.begin, citation.end) !== `[${citation.number}]`) continue;
      chips.set(citation.begin, { end: citation.end, make: () => this.#deps.card.chip({ ...citation, view: this }) });
    }
    // Only a model writes markup; quoted posts are shown to the letter.
    const markup = wrote !== 'extract' && wrote !== 'none';
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

  #drawMeta() {
    const { asOf, wrote, finish, state, text, fiction } = this.#turn;
    const time = parseTime(asOf);
    const facts = [
      time ? h('span', { class: 'as-of' }, 'As of ', h('strong', {}, absolute(time, { seconds: true, utc: true }))) : null,
      wrote ? h('span', {}, WRITERS[wrote] ?? wrote) : null,
      finish === 'length' ? h('span', {}, 'Cut off at the longest length') : null,
      fiction ? h('span', { class: 'badge fiction' }, 'Fiction: from the sample world') : null,
    ].filter(Boolean);
    const copy = action('copy', 'copy', 'Copy', () => this.#copy(copy));
    this.#parts.meta.replaceChildren(h('p', { class: 'facts' }, facts), h('div', { class: 'actions' },
      text ? copy : null,
      state === 'error' ? null : action('again', 'again', 'Ask again', () => this.#deps.onAgain(this)),
      text ? action('export', 'save', 'Export', () => this.#deps.onExport('markdown'), { title: 'The conversation as a Markdown file' }) : null));
  }

  #drawSources() {
    const open = this.#parts.cited.querySelector('details')?.open ?? false;
    const panel = sourcesPanel(this.#turn, open, this.#deps);
    this.#parts.cited.replaceChildren(...(panel ? [panel] : []));
  }

  copy() {
    const button = this.#parts.meta.querySelector('.copy');
    if (button) this.#copy(button);
  }

  async #copy(button) {
    const label = button.querySelector('span');
    try {
      await navigator.clipboard.writeText(plainText(this.#turn));
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
