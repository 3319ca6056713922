// Offsets and words. The server counts in code points, the browser in UTF-16 units.

/// Maps code point offsets to UTF-16 indices of the same text; one past the end maps to the end.
export class CodePoints {
  constructor(text) {
    this.length = text.length;
    if (!/[\ud800-\udbff]/.test(text)) return;  // then the two are the same
    this.starts = [];
    let index = 0;
    for (const character of text) {
      this.starts.push(index);
      index += character.length;
    }
  }

  toIndex(offset) {
    if (!Number.isFinite(offset) || offset < 0) return 0;
    if (!this.starts) return Math.min(offset, this.length);
    return offset < this.starts.length ? this.starts[offset] : this.length;
  }
}

/// The last end of a sentence in `text` at or before its end: what may be announced, while the rest is being written.
export function finishedLength(text) {
  let end = 0;
  const pattern = /[.!?\u3002\uff01\uff1f]["'\u201d\u2019)\]]*(?:\s*\[\d{1,3}\])*(?=\s)|\n/gu;
  for (const match of text.matchAll(pattern)) end = match.index + match[0].length;
  return end;
}

/// One sentence to read aloud: citation marks and markup out, white space folded.
export function spoken(text) {
  return text.replace(/\[\d{1,3}\]/g, '').replace(/\*\*|`/g, '').replace(/^\s*(?:[-*]|#{1,4})\s+/gm, '')
    .replace(/\s+([.,;!?])/g, '$1').replace(/\s+/g, ' ').trim();
}

/// Shortens to at most `limit` UTF-16 units at a word's end, never inside a character.
export function shorten(text, limit) {
  if (text.length <= limit) return text;
  let cut = text.slice(0, limit);
  if (/[\ud800-\udbff]$/.test(cut)) cut = cut.slice(0, -1);
  const space = cut.lastIndexOf(' ');
  return `${space > limit * 0.6 ? cut.slice(0, space) : cut}\u2026`;
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
}
