// Choices that this browser remembers: colours, writer, style, window and the like. Without storage they last as long as the page.

import { byId, setIcon } from './dom.js';

export function remember(name, value) {
  try {
    localStorage.setItem(`fathom.${name}`, value);
  } catch {
    // A private window, perhaps: the choice holds until the page is closed.
  }
}

export function recall(name) {
  try {
    return localStorage.getItem(`fathom.${name}`);
  } catch {
    return null;
  }
}

const THEMES = { auto: ['auto', 'as the system'], light: ['sun', 'light'], dark: ['moon', 'dark'] };

/// The button in the header goes round the three, the choice in the settings names them.
export function initTheme() {
  const button = byId('theme-toggle');
  const select = byId('theme');
  let theme = document.documentElement.dataset.theme ?? 'auto';
  const show = () => {
    setIcon(button, THEMES[theme][0]);
    byId('theme-label').textContent = button.title = `Colours: ${THEMES[theme][1]}`;
    select.value = theme;
  };
  const choose = (name) => {
    theme = name;
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    remember('theme', theme);
    show();
  };
  button.addEventListener('click', () => {
    const names = Object.keys(THEMES);
    choose(names[(names.indexOf(theme) + 1) % names.length]);
  });
  select.addEventListener('change', () => choose(select.value));
  show();
}
