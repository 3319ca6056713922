// Applies the chosen colours before the first paint; a classic script, so that nothing flashes. See initTheme in
// settings.js for the button.
try {
  const theme = localStorage.getItem('fathom.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden; the system's colours are a good default.
}
