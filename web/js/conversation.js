// The open conversation: its turns on the page, asking, stopping, asking again, and what of it is kept.

import { ApiError, streamAnswer } from './api.js';
import { byId } from './dom.js';
import { FreshWatch } from './fresh.js';
import { shorten } from './text.js';
import { choicesOf, newTurn, requestBody, takeChunk } from './turn_data.js';
import { TurnView } from './turn.js';

const EARLIER_TURNS = 6;  // of the conversation that go along with a question

const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

export class ConversationView extends EventTarget {
  #open = null;  // {id, title, turns}; the id is null until the first answer is asked for
  #views = [];
  #running = null;  // {abort, view} while an answer is being made
  #frame = 0;
  #fresh = new FreshWatch();
  #gone = new Set();  // conversations that the reader deleted
  #deps;

  /// `deps`: {clock, card, actions, store() -> conversations or null, onError(error), onExport(id, format)}. Tells of itself
  /// with the events 'change' (another conversation or number of turns), 'running' and 'kept'.
  constructor(deps) {
    super();
    this.#deps = {
      ...deps,
      onAgain: (view) => this.#replace(view, view.turn.question),
      onEdit: (view, question) => this.#replace(view, question),
      onExport: (format) => deps.onExport(this.#open, format),
    };
  }

  get id() {
    return this.#open?.id ?? null;
  }

  get title() {
    return this.#open?.title ?? '';
  }

  get empty() {
    return this.#views.length === 0;
  }

  get running() {
    return this.#running !== null;
  }

  get last() {
    return this.#views.at(-1) ?? null;
  }

  stop() {
    this.#running?.abort.abort();
  }

  async ask(question, choices) {
    if (this.#running) return;
    this.#open ??= { id: null, title: shorten(question.replace(/\s+/g, ' '), 80), turns: [] };
    const turn = newTurn(question, choices);
    this.#open.turns.push(turn);
    await this.#answer(this.#add(turn));
  }

  again(view = this.last) {
    if (view) this.#replace(view, view.turn.question);
  }

  /// What came after an answer followed from it and goes with it.
  async #replace(view, question) {
    if (this.#running) return;
    const at = this.#views.indexOf(view);
    if (at < 0) return;
    const turn = newTurn(question, choicesOf(view.turn));
    for (const later of this.#views.splice(at)) later.element.remove();
    this.#open.turns.splice(at, Infinity, turn);
    await this.#answer(this.#add(turn), true);
  }

  #messagesUpTo(turn) {
    const { turns } = this.#open;
    const at = turns.indexOf(turn);
    const earlier = turns.slice(Math.max(0, at - EARLIER_TURNS), at).filter((t) => t.text !== '');
    return [...earlier.flatMap((t) => [{ role: 'user', content: t.question }, { role: 'assistant', content: t.text }]),
      { role: 'user', content: turn.question }];
  }

  async #answer(view, replaces = false) {
    const { turn } = view;
    const mine = this.#open;  // another one may be open when the answer ends
    const messages = this.#messagesUpTo(turn);
    const abort = new AbortController();
    this.#fresh.watch(null);
    this.#running = { abort, view };
    this.#tell('running');
    const store = this.#deps.store();
    try {
      if (mine.id && store && replaces) await store.cut(mine, mine.turns.length - 1).catch((error) => this.#deps.onError(error));
      if (!mine.id && store) mine.id = await store.begin(mine.title);
      const body = requestBody(turn, messages, store?.onServer ? mine.id : null, this.#deps.clock.now);
      for await (const chunk of streamAnswer(body, abort.signal)) {
        takeChunk(turn, chunk);
        this.#schedule(view);
      }
      turn.state = 'done';
    } catch (error) {
      this.#fail(turn, error);
    }
    this.#running = null;
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    view.update();
    this.#tell('running');
    if (view === this.last) this.#fresh.watch(view);
    if (store && mine.id && !this.#gone.has(mine.id)) await store.keep(mine).catch((error) => this.#deps.onError(error));
    this.#tell('kept');
  }

  #fail(turn, error) {
    if (error.name === 'AbortError') {
      turn.state = 'stopped';
      return;
    }
    const known = error instanceof ApiError ? error : new ApiError('stream', `The page could not read the answer: ${error.message}`);
    turn.state = 'error';
    const advice = known.kind === 'stream' && turn.text === '' ? 'Nothing was written yet. Ask again.' : known.advice;
    turn.error = { message: known.message, advice, requestId: known.requestId };
    this.#deps.onError(known);
  }

  #schedule(view) {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      view.update();
    });
  }

  /// Opens another conversation, or an empty one for null.
  show(conversation) {
    this.stop();
    this.#deps.card.hide();
    this.#fresh.watch(null);
    this.#open = conversation;
    this.#views = [];
    byId('turns').replaceChildren();
    for (const turn of conversation?.turns ?? []) {
      if (turn.state === 'working') turn.state = 'stopped';  // the page was closed midway
      this.#add(turn, false);
    }
    byId('scroll').scrollTop = this.#views.length > 1 ? this.last.element.offsetTop : 0;
    this.#fresh.watch(this.last);
    this.#tell('change');
  }

  /// It was deleted: what is still being written is not kept again.
  forget(id) {
    this.#gone.add(id);
    if (id === this.id) this.show(null);
  }

  rename(id, title) {
    if (id === this.id) this.#open.title = title;
    this.#tell('change');
  }

  #add(turn, scroll = true) {
    const view = new TurnView(turn, this.#deps);
    this.#views.push(view);
    byId('turns').append(view.element);
    this.#tell('change');
    // Only the pane may move: scrollIntoView would move the page's frame too.
    if (scroll) byId('scroll').scrollTo({ top: view.element.offsetTop, behavior: calm() ? 'auto' : 'smooth' });
    return view;
  }

  #tell(name) {
    this.dispatchEvent(new Event(name));
  }
}
