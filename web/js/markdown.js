// Answer text -> DOM: paragraphs, lists, headings, quotations, code, bold and emphasis, and a chip at each checked
// citation. Never parses HTML and makes no links: addresses come only from the posts that are cited.

import { h } from './dom.js';

const FENCE = /^\s*```/;
const HEADING = /^(#{1,4})\s+/;
const BULLET = /^\s{0,6}[-*\u2022]\s+/;
const NUMBER = /^\s{0,6}(\d{1,3})[.)]\s+/;
const QUOTE = /^\s{0,3}>\s?/;
const INDENT = /^\s{2,}/;
const LISTS = ['bullet', 'number'];

function* linesOf(text) {
  for (let at = 0; at < text.length;) {
    const newline = text.indexOf('\n', at);
    const end = newline < 0 ? text.length : newline;
    yield { start: at, end, text: text.slice(at, end) };
    at = end + 1;
  }
}

function classify(line) {
  if (line.text.trim() === '') return { type: 'blank' };
  if (FENCE.test(line.text)) return { type: 'fence' };
  for (const [type, pattern] of [['heading', HEADING], ['bullet', BULLET], ['number', NUMBER], ['quote', QUOTE]]) {
    const match = pattern.exec(line.text);
    if (match) return { type, skip: match[0].length, first: Number(match[1]) };
  }
  return { type: 'text' };
}

/// Blocks of `text`, each line of plain text one of its own, as {type, start, end, parts:[{start, end, follows}], ...} in UTF-16
/// offsets; `start` and `end` say which text a block depends on, so that a streaming view redraws only what changed. A part that
/// follows is an indented line under an entry of a list.
export function parseBlocks(text) {
  const blocks = [];
  let open = null;
  let fenced = false;
  let above = 'blank';  // what the line before was
  for (const line of linesOf(text)) {
    if (fenced) {
      open.end = line.end;
      if (FENCE.test(line.text)) {
        fenced = false;
        open = null;
      } else {
        open.parts.push({ start: line.start, end: line.end });
      }
      continue;
    }
    const kind = classify(line);
    if (kind.type === 'text' && LISTS.includes(open?.type) && above !== 'blank' && INDENT.test(line.text)) {
      open.parts.push({ start: line.start + INDENT.exec(line.text)[0].length, end: line.end, follows: true });
      open.end = line.end;
      continue;
    }
    const tight = kind.type === 'text' && above === 'text';
    above = kind.type;
    if (kind.type === 'blank') {
      if (open && !LISTS.includes(open.type)) open = null;
      continue;
    }
    if (kind.type === 'fence') {
      open = { type: 'code', start: line.start, end: line.end, parts: [] };
      blocks.push(open);
      fenced = true;
      continue;
    }
    const part = { start: line.start + (kind.skip ?? 0), end: line.end };
    const joins = open && open.type === kind.type && kind.type !== 'heading' && kind.type !== 'text';
    if (joins) {
      open.parts.push(part);
      open.end = line.end;
      continue;
    }
    open = { type: kind.type, tight, first: kind.first, start: line.start, end: line.end, parts: [part] };
    blocks.push(open);
  }
  return blocks;
}

const CLOSERS = { '**': /\S\*\*/g, '*': /[^\s*]\*(?!\*)/g, '`': /`/g };

/// Where the marker that opens at `at` closes before `end`, or -1. `**` and `*` hug their text on the inside.
function closing(text, marker, at, end) {
  const from = at + marker.length;
  if (marker !== '`' && (/\s/.test(text[from] ?? ' ') || /[\p{L}\p{N}]/u.test(text[at - 1] ?? ' '))) return -1;
  const pattern = CLOSERS[marker];
  pattern.lastIndex = from;
  const match = pattern.exec(text);
  if (!match) return -1;
  const close = match.index + match[0].length - marker.length;
  return close > from && close < end ? close : -1;
}

/// The inline content of text[start, end): text nodes (reported to `onText` with their offset), chips and markup.
/// `chips` maps the offset of a citation to {end, make()}; `markup` false shows asterisks and backquotes as they are.
export function inline(text, start, end, { chips, markup, onText }) {
  const nodes = [];
  let plainFrom = start;
  const flush = (to) => {
    if (to <= plainFrom) return;
    const node = document.createTextNode(text.slice(plainFrom, to));
    onText(node, plainFrom);
    nodes.push(node);
  };
  const TAGS = { '**': 'strong', '*': 'em', '`': 'code' };
  for (let at = start; at < end;) {
    const chip = text[at] === '[' ? chips.get(at) : undefined;
    if (chip && chip.end <= end) {
      // No line break between the last word and its mark.
      const space = text[at - 1] === ' ' && at - 1 >= plainFrom;
      flush(space ? at - 1 : at);
      if (space) nodes.push('\u202f');
      nodes.push(chip.make());
      if (/[.,;:!?)]/.test(text[chip.end] ?? '')) nodes.push('\u2060');  // nor between the mark and what ends the sentence
      at = plainFrom = chip.end;
      continue;
    }
    const marker = !markup ? null : text.startsWith('**', at) ? '**' : text[at] === '*' || text[at] === '`' ? text[at] : null;
    const close = marker ? closing(text, marker, at, end) : -1;
    if (close > 0) {
      flush(at);
      const inner = at + marker.length;
      nodes.push(h(TAGS[marker], {}, inline(text, inner, close, { chips, markup: marker !== '`', onText })));
      at = plainFrom = close + marker.length;
      continue;
    }
    at += marker ? marker.length : 1;
  }
  flush(end);
  return nodes;
}

/// One block as an element.
export function renderBlock(text, block, options) {
  const part = ({ start, end }) => inline(text, start, end, options);
  const joined = () => block.parts.flatMap((p, i) => (i === 0 ? part(p) : [h('br'), ...part(p)]));
  const entries = () => block.parts.reduce((list, p) => {
    if (p.follows) list.at(-1).append(h('br'), ...part(p));
    else list.push(h('li', { dir: 'auto' }, part(p)));
    return list;
  }, []);
  switch (block.type) {
    case 'heading': return h('h3', {}, joined());
    case 'bullet': return h('ul', {}, entries());
    case 'number': return h('ol', { start: block.first }, entries());
    case 'quote': return h('blockquote', { dir: 'auto' }, joined());
    case 'code': return h('pre', { tabindex: '0' }, h('code', {}, block.parts.map((p) => text.slice(p.start, p.end)).join('\n')));
    default: return h('p', { dir: 'auto', class: block.tight ? 'tight' : null }, joined());
  }
}
