// Server-sent events over fetch (WHATWG HTML, section 9.2.6), because EventSource can neither POST nor send a key.

export class EventParser {
  #rest = '';
  #first = true;
  #data = [];
  #event = '';
  #id = '';

  /// Takes the next piece of text and returns the events that it completes: {event, data, id}.
  push(text) {
    let input = this.#rest + text;
    if (this.#first && input !== '') {
      this.#first = false;
      if (input.startsWith('\ufeff')) input = input.slice(1);
    }
    const events = [];
    let at = 0;
    for (;;) {
      const match = /\r\n|\n|\r/.exec(input.slice(at));
      // A carriage return at the end may be half of a line end; wait for what follows.
      if (!match || (match[0] === '\r' && at + match.index + 1 === input.length)) break;
      this.#line(input.slice(at, at + match.index), events);
      at += match.index + match[0].length;
    }
    this.#rest = input.slice(at);
    return events;
  }

  #line(line, events) {
    if (line === '') {
      if (this.#data.length > 0) events.push({ event: this.#event || 'message', data: this.#data.join('\n'), id: this.#id });
      this.#data = [];
      this.#event = '';
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return;  // a comment
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1));
    if (field === 'data') this.#data.push(value);
    else if (field === 'event') this.#event = value;
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
  }
}

/// The events of a response's body, until the server ends it. Cancels the body when the reader stops early.
export async function* readEvents(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
