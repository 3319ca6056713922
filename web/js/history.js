// The conversations of this browser, in localStorage. Everything fails soft: without storage they last as long as the page.

const KEY = 'fathom.conversations';
const KEEP = 30;
const MOST_BYTES = 2_000_000;

export class History {
  #list = [];
  persistent = true;

  constructor() {
    try {
      const stored = JSON.parse(localStorage.getItem(KEY) ?? '[]');
      if (Array.isArray(stored)) this.#list = stored.filter((c) => typeof c?.id === 'string' && Array.isArray(c.turns));
    } catch {
      this.persistent = false;
    }
  }

  get list() {
    return this.#list;
  }

  find(id) {
    return this.#list.find((conversation) => conversation.id === id) ?? null;
  }

  /// Puts a conversation first and drops the oldest beyond what is kept.
  save(conversation) {
    this.#list = [conversation, ...this.#list.filter((c) => c.id !== conversation.id)].slice(0, KEEP);
    this.#write();
  }

  remove(id) {
    this.#list = this.#list.filter((conversation) => conversation.id !== id);
    this.#write();
  }

  clear() {
    this.#list = [];
    this.#write();
  }

  #write() {
    try {
      let text = JSON.stringify(this.#list);
      while (text.length > MOST_BYTES && this.#list.length > 1) {
        this.#list.pop();
        text = JSON.stringify(this.#list);
      }
      localStorage.setItem(KEY, text);
      this.persistent = true;
    } catch {
      this.persistent = false;
    }
  }
}
