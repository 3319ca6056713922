// Offsets and words: the server counts in bytes of UTF-8, the browser in UTF-16 units.

/// Maps byte offsets of UTF-8 to UTF-16 indices of the same text. An offset inside a character maps to its start, one
/// past the end to the end.
export class ByteOffsets {
  constructor(text) {
    this.length = text.length;
    this.ascii = /^[\x00-\x7f]*$/.test(text);
    if (this.ascii) return;
    const starts = [];  // starts[byte] = UTF-16 index of the character that holds the byte
    let index = 0;
    for (const character of text) {
      const point = character.codePointAt(0);
      const bytes = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
      for (let i = 0; i < bytes; i += 1) starts.push(index);
      index += character.length;
    }
    this.starts = starts;
  }

  toIndex(byte) {
    if (!Number.isFinite(byte) || byte < 0) return 0;
    if (this.ascii) return Math.min(byte, this.length);
    return byte < this.starts.length ? this.starts[byte] : this.length;
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
