// Keyboard shortcuts and the overlay that lists them. Single keys can be turned off (WCAG 2.1, success criterion 2.1.4).

import { byId, h, setIcon } from './dom.js';
import { recall, remember } from './settings.js';

const ALWAYS = [['Enter', 'Ask'], ['Shift Enter', 'Start a line'], ['Esc', 'Close what is open, or stop the answer']];

const typing = (target) => target.closest?.('input, textarea, select, [contenteditable]');

export class Shortcuts {
  /// `keys`: [[key, what it does, action]].
  constructor(keys) {
    const on = byId('shortcuts');
    on.checked = recall('shortcuts') !== 'false';
    on.addEventListener('change', () => remember('shortcuts', on.checked));
    setIcon(byId('help-toggle'), 'help');
    byId('help-toggle').addEventListener('click', () => byId('help').showModal());
    const row = ([key, what]) => [h('dt', {}, key.split(' ').map((name) => h('kbd', {}, name))), h('dd', {}, what)];
    byId('help-keys').append(...[...ALWAYS, ...keys, ['?', 'This list']].flatMap(row));
    const actions = new Map(keys.map(([key, , action]) => [key, action]));
    actions.set('?', () => byId('help').showModal());
    document.addEventListener('keydown', (event) => {
      if (!on.checked || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
      if (typing(event.target) || document.querySelector('dialog[open], .menu:popover-open')) return;
      const action = actions.get(event.key);
      if (!action) return;
      event.preventDefault();
      action();
    });
  }
}
