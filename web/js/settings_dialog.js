// The settings: answers, sources, model, page and key. The composer reads the choices of the first pane.

import { setKey } from './api.js';
import { byId, h, icon, setIcon } from './dom.js';
import { sourceName } from './post.js';
import { byCommand, modelOffers, sourceOffers } from './setup.js';
import { sourceFacts, stateOf } from './status.js';
import { plural } from './text.js';

export class SettingsDialog {
  #dialog = byId('settings');
  #tabs = [...byId('settings-tabs').querySelectorAll('[role=tab]')];
  #deps;

  /// `deps`: {status, setup, confirm(title, text, verb), onKey()}.
  constructor(deps) {
    this.#deps = deps;
    setIcon(byId('settings-toggle'), 'settings');
    setIcon(byId('settings-close'), 'close');
    byId('settings-toggle').addEventListener('click', () => this.open('answers'));
    byId('settings-close').addEventListener('click', () => this.#dialog.close());
    this.#dialog.addEventListener('click', (event) => event.target === this.#dialog && this.#dialog.close());
    for (const [i, tab] of this.#tabs.entries()) {
      tab.addEventListener('click', () => this.#select(tab));
      tab.addEventListener('keydown', (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const next = this.#tabs[(i + step + this.#tabs.length) % this.#tabs.length];
        this.#select(next);
        next.focus();
      });
    }
    byId('settings-key-form').addEventListener('submit', (event) => {
      event.preventDefault();
      setKey(byId('settings-key').value.trim());
      byId('settings-key').value = '';
      deps.onKey();
      this.#dialog.close();
    });
    deps.setup.addEventListener('change', () => this.draw());
  }

  open(name) {
    this.#select(byId(`tab-${name}`));
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#deps.setup.refresh();
  }

  #select(tab) {
    for (const other of this.#tabs) {
      const chosen = other === tab;
      other.setAttribute('aria-selected', String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      byId(other.getAttribute('aria-controls')).hidden = !chosen;
    }
    this.draw();
  }

  /// Draws what the server says anew, but never under a reader who is typing there.
  draw() {
    const typing = (pane) => pane.contains(document.activeElement) && document.activeElement.matches('input') && document.activeElement.value !== '';
    for (const [name, parts] of [['sources', () => this.#sources()], ['model', () => this.#model()]]) {
      const pane = byId(`pane-${name}`);
      if (pane.hidden || typing(pane)) continue;
      const within = pane.contains(document.activeElement) ? document.activeElement.closest('[data-id]')?.dataset.id : null;
      pane.replaceChildren(...parts().filter(Boolean));
      if (within) pane.querySelector(`[data-id="${CSS.escape(within)}"] button`)?.focus();
    }
  }

  #sources() {
    const { setup, status } = this.#deps;
    const removable = new Map((setup.data?.sources ?? []).map((source) => [source.name, source.removable !== false]));
    const read = (status.data?.sources ?? []).map((source) => this.#source(source, removable.get(source.name) ?? false));
    return [
      h('h3', {}, 'What is read'),
      read.length > 0 ? h('ul', { class: 'source-states' }, read)
        : h('p', { class: 'quiet' }, 'No source is read. Posts can be sent to POST /v1/posts, or add a source below.'),
      h('h3', {}, 'Add a source'),
      setup.supported ? null : h('p', { class: 'quiet' }, 'This server takes no sources over its API. Start it with them:'),
      setup.supported && !setup.mayChange ? h('p', { class: 'notice' }, icon('warn'), 'Your key may not change the sources: that takes one with the role admin.') : null,
      setup.supported ? setup.cards(sourceOffers) : byCommand(),
      h('p', { class: 'quiet' }, 'Other kinds: ', h('code', {}, 'fathom sources kinds'), ' lists them, ', h('code', {}, 'fathom sources add'), ' adds them.'),
    ];
  }

  #source(source, removable) {
    const { setup } = this.#deps;
    const id = `source ${source.name}`;
    const [dot, words] = stateOf(source);
    return h('li', { 'data-id': id }, h('span', { class: 'dot', 'data-state': dot }),
      h('div', {}, h('p', {}, h('strong', {}, sourceName(source.name)), ` ${words}`),
        sourceFacts(source).map((fact) => h('p', { class: 'quiet' }, fact)),
        setup.said(id) ? h('p', { class: 'offer-said', role: 'status' }, setup.said(id)) : null),
      removable && setup.mayChange ? h('button', { type: 'button', class: 'text-button', disabled: setup.busy(id), onclick: () => this.#removeSource(source.name) }, icon('trash'), 'Remove',
        h('span', { class: 'sr' }, ` ${sourceName(source.name)}`)) : null);
  }

  async #removeSource(name) {
    const { confirm, setup } = this.#deps;
    const text = name === 'world' ? 'Fathom starts itself again without it, and reads your own sources. Its posts are invented and were never among yours.'
      : 'It is no longer read, now and after a restart. The posts that it brought stay until they are old enough to go.';
    if (await confirm(`Remove ${sourceName(name)}?`, text, 'Remove')) setup.removeSource(name);
  }

  #model() {
    const { setup, status } = this.#deps;
    const { model } = status.data ?? {};
    return [
      h('h3', {}, 'The model'),
      model ? h('div', { class: 'model-facts' }, h('p', {}, h('strong', {}, model.name)),
        h('p', { class: 'quiet' }, [model.architecture, model.quantisation, model.parameters ? `${(model.parameters / 1e6).toLocaleString('en', { maximumFractionDigits: 0 })} million parameters` : '',
          model.context ? `${plural(model.context, 'token')} of context` : ''].filter(Boolean).join(', ')))
        : h('p', {}, 'None is loaded: answers are quotations from the posts. With one, it writes the answer, and each sentence is checked against the post that it cites.'),
      (setup.data?.offers ?? []).some(modelOffers) ? [h('h3', {}, 'Fetch a model'), setup.cards(modelOffers)] : null,
      h('h3', {}, 'Use one of your own'),
      h('ol', { class: 'how' }, h('li', {}, 'Get an instruction-tuned model as a GGUF file. Small ones of one to four billion parameters answer well on a laptop.'),
        h('li', {}, 'Put it into the folder ', h('code', {}, 'models'), ' of Fathom\u2019s data folder, or start Fathom with it: ', h('code', { class: 'line' }, 'fathom serve --model path/to/model.gguf')),
        h('li', {}, 'When Fathom has started again, its name stands here.')),
    ].flat();
  }
}
