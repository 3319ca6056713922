// Builds DOM without ever parsing markup: strings become text nodes, so what a post or a model says stays text.

const SVG = 'http://www.w3.org/2000/svg';

/// h('p', {class: 'quiet', onclick: f}, 'text', node, [more]): null, undefined and false children are left out.
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  append(element, children);
  return element;
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child);
  }
}

export const byId = (id) => document.getElementById(id);

// 24 x 24, drawn with a stroke of currentColor.
const PATHS = {
  menu: 'M4 7h16M4 12h10M4 17h16',
  feed: 'M15 4v16M5 4h14a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM17.5 8h0M17.5 11h0',
  send: 'M12 19V5M6 11l6-6 6 6',
  stop: 'M8 8h8v8H8z',
  pause: 'M9 6v12M15 6v12',
  play: 'M8 5.5v13l10-6.5z',
  copy: 'M9 9h10v10H9zM5 15V5h10',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  again: 'M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4',
  open: 'M10 6H6v12h12v-4M13 5h6v6M19 5l-8 8',
  ask: 'M5 5h14v11h-7l-4 3.5V16H5zM9.5 9.5h5M9.5 12h3',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1.1 1.1M17.3 17.3l1.1 1.1M5.6 18.4l1.1-1.1M17.3 6.7l1.1-1.1',
  moon: 'M19 14.5A7.5 7.5 0 0 1 9.5 5a7.5 7.5 0 1 0 9.5 9.5z',
  auto: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 4v16M12 8l5.5 0M12 12h8M12 16h5.5',
  close: 'M6 6l12 12M18 6L6 18',
  warn: 'M12 4l9 16H3zM12 10v4.5M12 17.2h0',
  settings: 'M4 8h9M17 8h3M15 6v4M4 16h3M11 16h9M9 14v4',
  edit: 'M5 19l.8-3.6L16 5.2l2.8 2.8L8.6 18.2zM14 7.2l2.8 2.8',
  trash: 'M5 7h14M10 7V5h4v2M7 7l.8 12h8.4L17 7M10.5 10.5v5M13.5 10.5v5',
  more: 'M6 12h.01M12 12h.01M18 12h.01',
  save: 'M12 4v11M7.5 10.5L12 15l4.5-4.5M5 19h14',
  plus: 'M12 5v14M5 12h14',
  digest: 'M5 6h14M5 10h14M5 14h9M5 18h6',
  deep: 'M12 4l8 4-8 4-8-4zM4 12l8 4 8-4M4 16l8 4 8-4',
  explain: 'M9.5 18h5M10.5 21h3M12 3a6 6 0 0 0-3.5 10.9c.6.5 1 1.1 1 1.9h5c0-.8.4-1.4 1-1.9A6 6 0 0 0 12 3z',
  filter: 'M4 6h16l-6 7v5l-4 2v-7z',
  help: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM9.7 9.6a2.4 2.4 0 1 1 3.3 2.3c-.7.3-1 .8-1 1.6M12 16.3h.01',
  thought: 'M7 16a4 4 0 0 1-.5-7.97A5.5 5.5 0 0 1 17 9a3.5 3.5 0 0 1 .5 7zM8 20h.01M11 18.5h.01',
  person: 'M12 5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM5 20c.8-3.5 3.5-5 7-5s6.2 1.5 7 5',
  thread: 'M6 5h12v8H9l-3 3zM10 16v1h6l3 3',
  trend: 'M4 16l5-5 4 4 7-8M15 7h5v5',
  dot: 'M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z',
  search: 'M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15.5 15.5L20 20',
};

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', PATHS[name]);
  svg.append(path);
  return svg;
}

/// Puts an icon in front of what a static button already holds, in place of an earlier one.
export function setIcon(element, name) {
  element.querySelector(':scope > .icon')?.remove();
  element.prepend(icon(name));
}

/// A link only for http and https; anything else comes back as plain text.
export function safeUrl(text) {
  if (typeof text !== 'string' || text === '') return null;
  try {
    const url = new URL(text);
    return url.protocol === 'http:' || url.protocol === 'https:' ? url : null;
  } catch {
    return null;
  }
}

export function outwardLink(url, ...children) {
  return h('a', { href: url.href, target: '_blank', rel: 'noopener noreferrer nofollow', class: 'outward' }, ...children);
}
