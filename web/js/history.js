// The conversations of this browser, in localStorage. Everything fails soft: without storage they last as long as the page.

const KEY = 'fathom.conversations';
const KEEP = 30;
const MOST_BYTES = 2_000_000;

export class History {
  #list = [];
  persistent = true;

  constructor() {
    this.#read();
  }

  get list() {
    return this.#list;
  }

  /// Puts a conversation first and drops the oldest beyond what is kept.
  save(conversation) {
    this.#read();
    this.#list = [conversation, ...this.#list.filter((c) => c.id !== conversation.id)].slice(0, KEEP);
    this.#write();
  }

  remove(id) {
    this.#read();
    this.#list = this.#list.filter((conversation) => conversation.id !== id);
    this.#write();
  }

  /// Another tab may have added to it meanwhile.
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
