// Where conversations are kept: by the server, or, when it keeps none, in this browser. Both have the same methods:
//   list(words, after) -> {items: [{id, title, updated, snippet}], more}     load(id) -> {id, title, turns}
//   begin(title) -> id      rename(id, title)      remove(id)      clear()      file(id, format) -> Blob
//   keep(conversation)      saves what only the page knows      cut(conversation, at)      drops the turns from `at` on

import { ApiError, getBlob, getJson, postJson, remove } from './api.js';
import { recall } from './settings.js';
import { markdown, turnsOf } from './turn_data.js';
import { parseTime } from './time.js';

const KEY = 'fathom.conversations';
const KEEP = 30;
const MOST_BYTES = 2_000_000;
const PAGE = 50;

const timeOf = (value) => (typeof value === 'number' ? value * 1000 : parseTime(value));

export class ServerConversations {
  onServer = true;

  async list(words = '', after = '') {
    const query = new URLSearchParams({ limit: String(PAGE) });
    if (words) query.set('q', words);
    if (after) query.set('after', after);
    const page = await getJson(`/v1/conversations?${query}`);
    const items = page.data.map((item) => ({ id: item.id, title: item.title || 'Untitled', updated: timeOf(item.updated_at ?? item.created_at), snippet: item.snippet ?? '' }));
    return { items, more: Boolean(page.has_more) };
  }

  async load(id) {
    const [head, items] = await Promise.all([getJson(`/v1/conversations/${encodeURIComponent(id)}`), this.#items(id)]);
    const turns = turnsOf(items, recall('writer') ?? 'auto');
    return { id, title: head.title || head.metadata?.title || turns[0]?.question || 'Untitled', turns };
  }

  async #items(id) {
    const items = [];
    for (let after = ''; ;) {
      const query = new URLSearchParams({ order: 'asc', limit: '100', ...(after ? { after } : {}) });
      const page = await getJson(`/v1/conversations/${encodeURIComponent(id)}/items?${query}`);
      items.push(...page.data);
      if (!page.has_more || page.data.length === 0) return items;
      after = page.last_id;
    }
  }

  async begin() {
    return (await postJson('/v1/conversations', {})).id;
  }

  async rename(id, title) {
    await postJson(`/v1/conversations/${encodeURIComponent(id)}`, { metadata: { title } });
  }

  remove(id) {
    return remove(`/v1/conversations/${encodeURIComponent(id)}`);
  }

  clear() {
    return remove('/v1/conversations');
  }

  file(id, format) {
    return getBlob(`/v1/conversations/${encodeURIComponent(id)}/export?format=${format}`);
  }

  async keep() {
    // The server kept it when the answer was done.
  }

  /// What an earlier answer led to goes when it is asked for again.
  async cut(conversation, at) {
    const before = conversation.turns.slice(0, at).filter((turn) => turn.state === 'done').length;
    let questions = 0;
    for (const item of await this.#items(conversation.id)) {
      if (item.role === 'user') questions += 1;
      if (questions > before) await remove(`/v1/conversations/${encodeURIComponent(conversation.id)}/items/${encodeURIComponent(item.id)}`);
    }
  }
}

/// In localStorage. Without storage they last as long as the page.
export class BrowserConversations {
  onServer = false;
  persistent = true;
  #list = [];

  async list(words = '') {
    this.#read();
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (c) => {
      const text = [c.title, ...c.turns.flatMap((turn) => [turn.question, turn.text])].join(' ').toLowerCase();
      return wanted.every((word) => text.includes(word));
    };
    return { items: this.#list.filter(matches).map(({ id, title, started }) => ({ id, title, updated: started, snippet: '' })), more: false };
  }

  async load(id) {
    this.#read();
    const found = this.#list.find((conversation) => conversation.id === id);
    if (!found) throw new ApiError('http', 'This conversation is no longer kept.', { status: 404 });
    return found;
  }

  async begin() {
    return crypto.randomUUID?.() ?? String(Date.now());
  }

  async rename(id, title) {
    this.#change((list) => list.map((c) => (c.id === id ? { ...c, title } : c)));
  }

  async remove(id) {
    this.#change((list) => list.filter((conversation) => conversation.id !== id));
  }

  async clear() {
    this.#change(() => []);
  }

  async file(id, format) {
    const conversation = await this.load(id);
    return format === 'json' ? new Blob([JSON.stringify(conversation, null, 2)], { type: 'application/json' })
      : new Blob([markdown(conversation)], { type: 'text/markdown' });
  }

  /// Puts it first and drops the oldest beyond what is kept.
  async keep(conversation) {
    this.#change((list) => [{ ...conversation, started: Date.now() }, ...list.filter((c) => c.id !== conversation.id)].slice(0, KEEP));
  }

  async cut() {
    // `keep` writes the conversation as it is then.
  }

  #change(edit) {
    this.#read();  // another tab may have changed it meanwhile
    this.#list = edit(this.#list);
    this.#write();
  }

  #read() {
    if (!this.persistent) return;
    try {
      const stored = JSON.parse(localStorage.getItem(KEY) ?? '[]');
      if (Array.isArray(stored)) this.#list = stored.filter((c) => typeof c?.id === 'string' && Array.isArray(c.turns));
    } catch {
      this.persistent = false;
    }
  }

  #write() {
    if (!this.persistent) return;
    try {
      let text = JSON.stringify(this.#list);
      while (text.length > MOST_BYTES && this.#list.length > 1) {
        this.#list.pop();
        text = JSON.stringify(this.#list);
      }
      localStorage.setItem(KEY, text);
    } catch {
      this.persistent = false;
    }
  }
}

/// The server's where it keeps them; throws ApiError when that cannot be known yet.
export async function openConversations() {
  try {
    const store = new ServerConversations();
    await getJson('/v1/conversations?limit=1');
    return store;
  } catch (error) {
    if (error instanceof ApiError && [404, 405, 501].includes(error.status)) return new BrowserConversations();
    throw error;
  }
}
