// What the newest posts talk about, for the suggested questions: tags and names that several people use. Pure functions.

const NAME = /(?<![\p{L}\p{N}@#/.])\p{Lu}[\p{L}\p{N}'\u2019-]*(?:\s+\p{Lu}[\p{L}\p{N}'\u2019-]*){0,2}/gu;
const SENTENCE_START = /(?:^|[.!?:;\n"\u201c(\u2022-]\s*)$/;
const COMMON = new Set(('i a an the this that these those it he she we they you my our your his her their its what when where who why '
  + 'how is are was were do does did will would can could should not no yes if but and or so as at by for from in into of on to '
  + 'with about after before just now new today tonight update breaking rt show ask tell hn via please thanks monday tuesday '
  + 'wednesday thursday friday saturday sunday january february march april may june july august september october november december')
  .split(' '));

function namesIn(text) {
  const names = new Set();
  for (const match of text.matchAll(NAME)) {
    const words = match[0].replace(/['\u2019]s$/u, '').split(/\s+/);
    // A capital at the start of a sentence says nothing by itself.
    const opens = SENTENCE_START.test(text.slice(0, match.index));
    if (opens && words.length === 1) continue;
    while (words.length > 0 && COMMON.has(words[0].toLowerCase())) words.shift();
    while (words.length > 0 && COMMON.has(words.at(-1).toLowerCase())) words.pop();
    const name = words.join(' ');
    if (name.length >= 4 && name !== name.toUpperCase()) names.add(name);
  }
  return names;
}

/// `posts` as `normalise` makes them. Up to `limit` names and tags by how many different authors use them, at least `authors` each.
export function topTopics(posts, limit = 4, authors = 3) {
  const users = new Map();  // folded topic -> {label, authors}
  const add = (label, author) => {
    const key = label.toLowerCase();
    if (!users.has(key)) users.set(key, { label, authors: new Set() });
    users.get(key).authors.add(author);
  };
  for (const post of posts) {
    const author = post.handle;
    for (const tag of post.tags ?? []) if (tag.length >= 3 && tag.length <= 40) add(`#${tag}`, author);
    for (const name of namesIn((post.text ?? '').slice(0, 1000))) add(name, author);
  }
  const ranked = [...users.values()].filter((topic) => topic.authors.size >= authors)
    .sort((a, b) => b.authors.size - a.authors.size || b.label.length - a.label.length || (a.label < b.label ? -1 : 1));
  const chosen = [];
  for (const { label } of ranked) {
    const bare = (text) => text.replace(/^#/, '').replace(/\s+/g, '').toLowerCase();
    const overlaps = chosen.some((other) => bare(other).includes(bare(label)) || bare(label).includes(bare(other)));
    if (!overlaps) chosen.push(label);
    if (chosen.length === limit) break;
  }
  return chosen;
}

/// Questions to start with: the general one, then one a topic.
export function suggestionsFor(posts) {
  if (posts.length === 0) return [];
  const patterns = [(t) => `What is the latest on ${t}?`, (t) => `What happened with ${t}?`, (t) => `What do we know about ${t}?`];
  return ['What is going on right now?', ...topTopics(posts, 3).map((topic, i) => patterns[i % patterns.length](topic))];
}
