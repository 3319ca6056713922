// A question and its answer as data: what is sent to the server for it, what comes back, and its text for people. Pure.

import { normalise } from './post.js';
import { CodePoints } from './text.js';
import { absolute, parseTime } from './time.js';

const MODELS = { auto: 'fathom', extract: 'fathom-extract', generate: 'fathom-generate' };

/// `choices`: {mode, post (as normalise makes them; of 'explain'), writer, style, window, think, rounds}.
export function newTurn(question, choices) {
  return {
    question, mode: 'answer', ...choices,
    text: '', thought: '', plan: [], citations: [], read: [], steps: [], asOf: null, wrote: null, fiction: false, state: 'working', error: null,
  };
}

/// The choices of a turn, for another one like it.
export function choicesOf({ mode, post, writer, style, window, think, rounds }) {
  return { mode, post, writer, style, window, think, rounds };
}

/// The day that a search window of so many days before `now` begins on, as the API takes it.
function fromDate(days, now) {
  return new Date((now ?? Date.now()) - Number(days) * 86_400_000).toISOString().slice(0, 10);
}

/// The body of POST /v1/chat/completions. What is as it comes is left out.
export function requestBody(turn, messages, conversation, now) {
  const fathom = {};
  if (turn.mode !== 'answer') fathom.mode = turn.mode;
  if (turn.mode === 'explain') fathom.post = turn.post.key;
  if (turn.mode === 'deep' && turn.rounds) fathom.rounds = Number(turn.rounds);
  if (turn.style) fathom.style = turn.style;
  if (turn.think) fathom.think = true;
  const body = { model: MODELS[turn.writer] ?? MODELS.auto, messages };
  if (Object.keys(fathom).length > 0) body.fathom = fathom;
  if (turn.window !== '' && turn.window !== undefined) body.search_parameters = { mode: 'auto', from_date: fromDate(turn.window, now) };
  if (conversation) body.conversation = conversation;
  return body;
}

/// Takes one chunk of the stream into `turn`: the plan, steps, thoughts, the posts read, then text with the citations that
/// it completes, and at the end the outcome, which repeats steps and citations.
export function takeChunk(turn, chunk) {
  const choice = chunk.choices?.[0];
  if (typeof choice?.delta?.reasoning_content === 'string') turn.thought += choice.delta.reasoning_content;
  if (typeof choice?.delta?.content === 'string') turn.text += choice.delta.content;
  if (choice?.finish_reason) turn.finish = choice.finish_reason;
  if (chunk.fathom) takeOutcome(turn, chunk.fathom);
}

/// The server's extension object, of a chunk, a whole answer or a kept item.
export function takeOutcome(turn, extra) {
  if (extra.step) turn.steps.push(extra.step);
  turn.steps = extra.steps ?? turn.steps;
  turn.plan = extra.plan ?? turn.plan;
  turn.read = extra.read ?? turn.read;
  for (const citation of extra.citations ?? []) {
    if (!turn.citations.some((known) => known.begin === citation.begin)) turn.citations.push(citation);
  }
  turn.asOf = extra.as_of ?? turn.asOf;
  turn.wrote = extra.writer ?? turn.wrote;
  turn.fiction = extra.fiction ?? turn.fiction;
}

const textOf = (content) => (typeof content === 'string' ? content
  : (content ?? []).map((part) => (typeof part?.text === 'string' ? part.text : '')).join(''));

const keyOf = (post) => post.key ?? `${post.source}:${post.id}`;

/// The items of a conversation as the server keeps them -> turns.
export function turnsOf(items, writer) {
  const turns = [];
  for (const item of items) {
    const extra = item.fathom ?? {};
    const subject = [...(extra.read ?? []), ...(extra.citations ?? [])].find((post) => extra.post && keyOf(post) === extra.post);
    const choices = { mode: extra.mode, style: extra.style, post: subject ? normalise(subject) : undefined };
    if (item.role === 'user') {
      turns.push({ ...newTurn(textOf(item.content), { writer }), ...defined(choices), state: 'done', items: [item.id] });
    } else if (item.role === 'assistant' && turns.length > 0) {
      const turn = turns.at(-1);
      turn.text += textOf(item.content);
      turn.thought = extra.reasoning ?? turn.thought;
      turn.items.push(item.id);
      Object.assign(turn, defined(choices));
      takeOutcome(turn, extra);
    }
  }
  // Without its post an explanation cannot be asked for again; as a question it can.
  for (const turn of turns) if (turn.mode === 'explain' && !turn.post) turn.mode = 'answer';
  return turns;
}

const defined = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined && value !== null));

/// The turn's citations with UTF-16 offsets.
export function citationsOf({ citations, text }) {
  const offsets = new CodePoints(text);
  return citations.map((raw) => ({
    number: raw.number,
    // A citation that was kept holds its post within, one of an answer is it.
    post: normalise(typeof raw.post === 'object' && raw.post !== null ? raw.post : raw),
    begin: offsets.toIndex(raw.begin),
    end: offsets.toIndex(raw.end),
    claimBegin: offsets.toIndex(raw.claim_begin),
    claimEnd: offsets.toIndex(raw.claim_end),
    passageBegin: raw.passage_begin,
    passageEnd: raw.passage_end,
  }));
}

/// Each cited post once, by its number.
export function sourcesOf(turn) {
  const cited = new Map();
  for (const citation of citationsOf(turn)) if (!cited.has(citation.number)) cited.set(citation.number, citation);
  return [...cited.values()].sort((a, b) => a.number - b.number);
}

/// Question, answer and sources as plain text.
export function plainText(turn) {
  const list = sourcesOf(turn)
    .map(({ number, post }) => `[${number}] @${post.handle}${post.time ? `, ${absolute(post.time)}` : ''}${post.url ? `, ${post.url}` : ''}`);
  const asOf = parseTime(turn.asOf);
  return [turn.question, '', turn.text.trim(), '', ...list, asOf ? `As of ${absolute(asOf, { seconds: true, utc: true })}` : ''].join('\n').trim();
}

/// A post's words may not become markup in the exported file.
const quoted = (text) => text.replace(/[\\`*_[\]<>#|]/g, '\\$&').replace(/\s*\n\s*/g, ' ');

/// A conversation as Markdown, for those that this browser keeps.
export function markdown({ title, turns }) {
  const parts = [`# ${quoted(title)}`];
  for (const turn of turns) {
    parts.push(`## ${quoted(turn.question)}`, turn.text.trim());
    const sources = sourcesOf(turn).map(({ number, post }) => `${number}. @${quoted(post.handle)}${post.time ? `, ${new Date(post.time).toISOString()}` : ''}: ${quoted(post.text)}${post.url ? ` <${post.url.replace(/[<>\s]/g, '')}>` : ''}`);
    if (sources.length > 0) parts.push(sources.join('\n'));
    if (turn.asOf) parts.push(`As of ${turn.asOf}`);
  }
  return `${parts.filter(Boolean).join('\n\n')}\n`;
}
