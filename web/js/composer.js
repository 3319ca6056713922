// The composer: the question, the mode, and the choices of how to answer, which the settings hold.

import { getJson } from './api.js';
import { byId, h, icon, setIcon } from './dom.js';
import { recall, remember } from './settings.js';

const MODES = ['answer', 'digest', 'deep'];
const PLACEHOLDERS = {
  answer: ['Ask what is going on', 'Ask a follow-up question'],
  digest: ['What happened since this morning?', 'What happened since this morning?'],
  deep: ['What should be found out in depth?', 'What should be found out in depth?'],
};
const KEPT = ['writer', 'style', 'window', 'rounds'];  // selects whose choice this browser remembers

export class Composer {
  #question = byId('question');
  #onSubmit;
  #first = true;

  /// `onSubmit(question, choices)`; `onOptions()` opens the settings; `onStop()`.
  constructor({ onSubmit, onOptions, onStop }) {
    this.#onSubmit = onSubmit;
    for (const label of byId('modes').querySelectorAll('[data-icon]')) label.prepend(icon(label.dataset.icon));
    setIcon(byId('send'), 'send');
    setIcon(byId('stop'), 'stop');
    setIcon(byId('options'), 'settings');
    byId('options').addEventListener('click', onOptions);
    byId('stop').addEventListener('click', () => {
      onStop();
      this.#question.focus();
    });
    this.#question.addEventListener('input', () => this.#fit());
    this.#question.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      byId('composer').requestSubmit();
    });
    byId('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      const text = this.#question.value.trim();
      if (text === '' || !byId('stop').hidden) return;
      this.fill('', false);
      this.#onSubmit(text, this.choices);
    });
    byId('modes').addEventListener('change', () => {
      remember('mode', this.#mode);
      this.#drawPlaceholder();
    });
    for (const name of KEPT) this.#restore(name);
    byId('think').checked = recall('think') === 'true';
    byId('think').addEventListener('change', () => remember('think', byId('think').checked));
    const mode = MODES.includes(recall('mode')) ? recall('mode') : 'answer';
    byId('modes').querySelector(`[value="${mode}"]`).checked = true;
    this.#drawOptions();
    this.#drawPlaceholder();
  }

  get #mode() {
    return byId('modes').querySelector(':checked').value;
  }

  get choices() {
    return { mode: this.#mode, writer: byId('writer').value, style: byId('style').value, window: byId('window').value,
      rounds: byId('rounds').value, think: byId('think').checked && !byId('think').disabled };
  }

  /// Puts text into the field, for the reader to send or to change.
  fill(text, focus = true) {
    this.#question.value = text;
    this.#fit();
    if (!focus) return;
    this.#question.focus();
    this.#question.setSelectionRange(text.length, text.length);
  }

  focus(options) {
    this.#question.focus(options);
  }

  setMode(mode) {
    byId('modes').querySelector(`[value="${mode}"]`).checked = true;
    this.#drawPlaceholder();
  }

  /// `first`: nothing has been asked yet. `running`: an answer is being made.
  draw({ first, running }) {
    this.#first = first;
    byId('send').hidden = running;
    byId('stop').hidden = !running;
    this.#drawPlaceholder();
  }

  /// What needs a model is offered where there is one.
  drawModel(known, hasModel) {
    const generate = byId('writer').querySelector('[value="generate"]');
    generate.disabled = known && !hasModel;
    byId('think').disabled = known && !hasModel;
    if (generate.disabled && byId('writer').value === 'generate') byId('writer').value = 'auto';
    this.#drawOptions();
  }

  /// The server's styles; a server without any shows no choice.
  async loadStyles() {
    try {
      const { data } = await getJson('/v1/styles');
      byId('style').replaceChildren(h('option', { value: '' }, 'As it comes'),
        ...data.map(({ name, title, description }) => h('option', { value: name, title: description || null }, title || name)));
      byId('style-field').hidden = data.length === 0;
      byId('style').value = recall('style') ?? '';
      if (byId('style').selectedIndex < 0) byId('style').value = '';
    } catch {
      byId('style-field').hidden = true;
    }
    this.#drawOptions();
  }

  #restore(name) {
    const select = byId(name);
    const kept = recall(name);
    if (kept !== null && [...select.options].some((option) => option.value === kept)) select.value = kept;
    select.addEventListener('change', () => {
      remember(name, select.value);
      this.#drawOptions();
    });
  }

  /// The button names what differs from how it comes.
  #drawOptions() {
    const label = (name) => byId(name).selectedOptions[0]?.textContent ?? '';
    const parts = [byId('writer').value === 'auto' ? '' : label('writer'), byId('style').value ? label('style') : '', byId('window').value ? label('window') : ''];
    byId('options-text').textContent = parts.filter(Boolean).join(', ') || 'How to answer';
  }

  #drawPlaceholder() {
    this.#question.placeholder = PLACEHOLDERS[this.#mode][this.#first ? 0 : 1];
  }

  #fit() {
    this.#question.style.height = 'auto';
    this.#question.style.height = `${Math.min(this.#question.scrollHeight, innerHeight * 0.4)}px`;
  }
}
