// The list of conversations: search, open, rename, delete, export.

import { byId, h, icon, setIcon } from './dom.js';

const DAY = 86_400_000;
const MORE_AFTER = 300;  // ms of rest before a search is sent

/// 'Today', 'Yesterday', 'The last 7 days' or 'Earlier', by days of the reader's calendar. Pure.
export function ageGroup(time, now) {
  const day = (value) => new Date(value).setHours(0, 0, 0, 0);
  const days = Math.round((day(now) - day(time ?? 0)) / DAY);
  return days <= 0 ? 'Today' : days === 1 ? 'Yesterday' : days < 8 ? 'The last 7 days' : 'Earlier';
}

/// Hands a file to the browser's downloads.
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export const fileName = (title, format) => `${title.normalize('NFKD').replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-+|-+$/g, '').slice(0, 60).toLowerCase() || 'conversation'}.${format === 'json' ? 'json' : 'md'}`;

export class Sidebar {
  #deps;
  #items = [];
  #more = false;
  #timer = 0;
  #asked = 0;
  #list = byId('history-list');
  #menu = byId('menu');
  #opener = null;

  /// `deps`: {store() -> conversations or null, current() -> id, onOpen(id), onNew(), onRenamed(id, title), onRemoved(id or null),
  /// confirm(title, text) -> Promise<bool>, onError(error)}.
  constructor(deps) {
    this.#deps = deps;
    setIcon(byId('new-conversation'), 'plus');
    byId('new-conversation').addEventListener('click', () => deps.onNew());
    setIcon(byId('history-search-box'), 'search');
    byId('history-search').addEventListener('input', () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.refresh(), MORE_AFTER);
    });
    byId('history-clear').addEventListener('click', () => this.#clear());
    document.addEventListener('pointerdown', (event) => !this.#menu.contains(event.target) && this.#opener !== event.target.closest?.('button') && this.#closeMenu());
    this.#menu.addEventListener('keydown', (event) => this.#menuKey(event));
    this.#list.addEventListener('scroll', () => this.#closeMenu(), { passive: true });
  }

  async refresh() {
    const store = this.#deps.store();
    if (!store) {
      this.#items = [];
      this.#draw('');
      return;
    }
    const asked = ++this.#asked;
    const words = byId('history-search').value.trim();
    try {
      const { items, more } = await store.list(words);
      if (asked !== this.#asked) return;  // a later question was put meanwhile
      this.#items = items;
      this.#more = more;
      this.#draw(words);
    } catch (error) {
      byId('history-note').textContent = `The conversations cannot be listed: ${error.message}`;
      this.#deps.onError(error);
    }
  }

  async #loadMore(button) {
    button.disabled = true;
    try {
      const { items, more } = await this.#deps.store().list(byId('history-search').value.trim(), this.#items.at(-1).id);
      this.#items.push(...items);
      this.#more = more;
      this.#draw(byId('history-search').value.trim());
    } catch (error) {
      button.disabled = false;
      this.#deps.onError(error);
    }
  }

  #draw(words) {
    const store = this.#deps.store();
    const groups = new Map();
    for (const item of this.#items) {
      const name = ageGroup(item.updated, Date.now());
      groups.set(name, [...(groups.get(name) ?? []), item]);
    }
    this.#list.replaceChildren(
      ...[...groups].map(([name, items]) => h('section', {}, h('h2', { class: 'history-group' }, name), h('ul', {}, items.map((item) => this.#row(item))))),
      ...(this.#more ? [h('button', { type: 'button', class: 'text-button', onclick: (event) => this.#loadMore(event.currentTarget) }, 'Show more')] : []));
    const none = this.#items.length === 0;
    byId('history-clear').hidden = none || words !== '';
    byId('history-note').textContent = none && words ? 'No conversation holds all of these words.'
      : none ? 'Conversations are kept here. Ask something to start one.'
        : !store ? '' : store.onServer ? 'Kept by your Fathom server.' : store.persistent ? 'Kept in this browser only.' : 'This browser keeps nothing: they are gone when the page closes.';
  }

  #row(item) {
    const open = item.id === this.#deps.current();
    return h('li', { 'data-id': item.id },
      h('button', { type: 'button', class: 'history-item', 'aria-current': open ? 'true' : null, onclick: () => this.#deps.onOpen(item.id) },
        h('bdi', { class: 'history-title' }, item.title),
        item.snippet ? h('bdi', { class: 'history-snippet quiet' }, item.snippet) : null),
      h('button', { type: 'button', class: 'icon-button small history-more', title: 'More', 'aria-haspopup': 'menu', 'aria-label': `More: ${item.title}`,
        onclick: (event) => this.#openMenu(event.currentTarget, item) }, icon('more')));
  }

  /// Marks the open conversation without asking the server again.
  mark() {
    for (const row of this.#list.querySelectorAll('li')) {
      const button = row.querySelector('.history-item');
      if (!button) continue;  // its title is being edited
      if (row.dataset.id === this.#deps.current()) button.setAttribute('aria-current', 'true');
      else button.removeAttribute('aria-current');
    }
  }

  // --- the menu of one conversation ---

  #openMenu(opener, item) {
    if (this.#opener === opener) {
      this.#closeMenu();
      return;
    }
    const entry = (picture, text, act) => h('button', { type: 'button', role: 'menuitem', tabindex: '-1', onclick: () => { this.#closeMenu(true); act(); } }, icon(picture), text);
    this.#menu.replaceChildren(entry('edit', 'Rename', () => this.#rename(item)), entry('save', 'Export as Markdown', () => this.export(item, 'markdown')),
      entry('save', 'Export as JSON', () => this.export(item, 'json')), entry('trash', 'Delete', () => this.#remove(item)));
    this.#menu.showPopover();
    const at = opener.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.#menu;
    this.#menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
    this.#menu.style.top = `${at.bottom + height + 8 > innerHeight ? Math.max(8, at.top - height) : at.bottom}px`;
    this.#opener = opener;
    opener.setAttribute('aria-expanded', 'true');
    this.#menu.firstChild.focus();
  }

  #closeMenu(focus = false) {
    if (!this.#opener) return;
    this.#opener.setAttribute('aria-expanded', 'false');
    if (focus) this.#opener.focus();
    this.#opener = null;
    this.#menu.hidePopover();
  }

  #menuKey(event) {
    const entries = [...this.#menu.children];
    const at = entries.indexOf(document.activeElement);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: entries.length - 1 };
    if (event.key === 'Escape' || event.key === 'Tab') this.#closeMenu(true);
    else if (event.key in moves) entries[(moves[event.key] + entries.length) % entries.length].focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #rename(item) {
    const row = this.#list.querySelector(`[data-id="${CSS.escape(item.id)}"]`);
    const field = h('input', { class: 'rename', 'aria-label': 'Title', maxlength: '200', autocomplete: 'off' });
    field.value = item.title;
    let over = false;
    const finish = async (save) => {
      if (over) return;
      over = true;
      const title = field.value.trim();
      if (save && title !== '' && title !== item.title) {
        try {
          await this.#deps.store().rename(item.id, title);
          item.title = title;
          this.#deps.onRenamed(item.id, title);
        } catch (error) {
          this.#deps.onError(error);
        }
      }
      this.#draw(byId('history-search').value.trim());
      this.#list.querySelector(`[data-id="${CSS.escape(item.id)}"] .history-item`)?.focus();
    };
    field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') finish(true);
      if (event.key === 'Escape') {
        event.stopPropagation();
        finish(false);
      }
    });
    field.addEventListener('blur', () => finish(true));
    row.replaceChildren(field);
    field.select();
    field.focus();
  }

  async export(item, format) {
    try {
      download(await this.#deps.store().file(item.id, format), fileName(item.title, format));
    } catch (error) {
      this.#deps.onError(error);
    }
  }

  async #remove(item) {
    if (!await this.#deps.confirm('Delete this conversation?', `\u201c${item.title}\u201d is deleted for good.`)) return;
    await this.#removing(() => this.#deps.store().remove(item.id), item.id);
  }

  async #clear() {
    if (!await this.#deps.confirm('Delete all conversations?', 'All of yours are deleted for good, not only those that the list shows.')) return;
    await this.#removing(() => this.#deps.store().clear(), null);
  }

  async #removing(act, id) {
    try {
      await act();
      this.#deps.onRemoved(id);
    } catch (error) {
      this.#deps.onError(error);
    }
    await this.refresh();
  }
}
