// The passage card: one popover for the whole page, shown beside a citation chip on hover, focus or click.

import { byId, h, icon } from './dom.js';
import { badges, byline, monogram, originalLink, postActions, timeElement } from './post.js';
import { CodePoints } from './text.js';

const CONTEXT = 360;  // characters shown on either side of the supporting words

/// The post's text around its passage: [before, passage, after], shortened at the outer ends.
export function passageParts(text, begin, end) {
  const offsets = new CodePoints(text);
  const from = offsets.toIndex(begin);
  const to = Math.max(from, offsets.toIndex(end));
  let before = text.slice(0, from);
  let after = text.slice(to);
  if (before.length > CONTEXT) before = `\u2026${before.slice(-CONTEXT).replace(/^[\udc00-\udfff]/, '').replace(/^\S*\s/, '')}`;
  if (after.length > CONTEXT) after = `${after.slice(0, CONTEXT).replace(/[\ud800-\udbff]$/, '').replace(/\s\S*$/, '')}\u2026`;
  return [before, text.slice(from, to), after];
}

export function passageElement(citation) {
  const [before, passage, after] = passageParts(citation.post.text, citation.passageBegin, citation.passageEnd);
  return h('p', { class: 'passage', dir: 'auto' }, before, passage ? h('mark', {}, passage) : null, after);
}

export class PassageCard {
  #card = byId('card');
  #chip = null;
  #pinned = false;
  #timer = 0;
  #clock;
  #actions;
  #onShow;

  /// `actions` as postActions takes them; `onShow(citation or null)` marks the claim in the answer.
  constructor(clock, actions, onShow) {
    this.#clock = clock;
    this.#actions = {
      onAsk: (post) => { this.hide(); actions.onAsk(post); },
      onExplain: (post) => { this.hide(); actions.onExplain(post); },
    };
    this.#onShow = onShow;
    this.#card.addEventListener('pointerenter', () => clearTimeout(this.#timer));
    this.#card.addEventListener('pointerleave', () => this.#leave());
    this.#card.addEventListener('focusout', (event) => {
      if (this.#pinned && !this.#card.contains(event.relatedTarget) && event.relatedTarget !== null
          && event.relatedTarget !== this.#chip) this.hide();
    });
    document.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || !this.#chip) return;
      event.preventDefault();
      const inside = this.#card.contains(document.activeElement);
      const chip = this.#chip;
      this.hide();
      if (inside) {
        this.#quiet = true;  // coming back must not open it again
        chip.focus();
        this.#quiet = false;
      }
    });
    document.addEventListener('pointerdown', (event) => {
      if (this.#chip && !this.#card.contains(event.target) && !this.#chip.contains(event.target)) this.hide();
    });
    const follow = () => this.#chip && this.#place();
    addEventListener('resize', follow);
    document.addEventListener('scroll', follow, { capture: true, passive: true });
  }

  #quiet = false;

  /// The button that stands at a claim. Its card is shown by hover and focus, and kept open by a click.
  chip(citation) {
    const { number, post } = citation;
    const chip = h('button', {
      type: 'button', class: 'chip', 'aria-label': `Source ${number}: @${post.handle}`, 'aria-haspopup': 'dialog', 'aria-expanded': 'false',
      onpointerenter: (event) => event.pointerType === 'mouse' && this.#after(120, () => this.#show(chip, citation, false)),
      onpointerleave: (event) => event.pointerType === 'mouse' && this.#leave(),
      onfocus: () => !this.#quiet && chip.matches(':focus-visible') && this.#show(chip, citation, false),
      onblur: (event) => !this.#pinned && !this.#card.contains(event.relatedTarget) && this.hide(),
      onclick: (event) => this.#click(chip, citation, event.detail === 0),
    }, String(number));
    return chip;
  }

  hide() {
    clearTimeout(this.#timer);
    if (!this.#chip) return;
    this.#chip.setAttribute('aria-expanded', 'false');
    this.#chip = null;
    this.#pinned = false;
    if (this.#card.matches(':popover-open')) this.#card.hidePopover();
    this.#onShow(null);
  }

  #after(delay, action) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(action, delay);
  }

  #leave() {
    if (!this.#pinned) this.#after(220, () => this.hide());
    else clearTimeout(this.#timer);
  }

  #click(chip, citation, byKeyboard) {
    if (this.#chip === chip && this.#pinned) {
      this.hide();
      return;
    }
    this.#show(chip, citation, true);
    if (byKeyboard) this.#card.focus();
  }

  #show(chip, citation, pinned) {
    clearTimeout(this.#timer);
    if (!chip.isConnected) return;
    if (this.#chip !== chip) {
      this.hide();
      this.#fill(citation);
      this.#card.showPopover({ source: chip });
      this.#chip = chip;
      chip.setAttribute('aria-expanded', 'true');
      this.#onShow(citation, chip);
    }
    this.#pinned = this.#pinned || pinned;
    this.#place();
  }

  #fill(citation) {
    const { post, number } = citation;
    this.#card.replaceChildren(
      h('div', { class: 'card-head' }, monogram(post),
        h('div', { class: 'card-who' }, h('h3', { id: 'card-title' }, h('span', { class: 'sr' }, `Source ${number}: `), byline(post)),
          h('p', { class: 'quiet' }, timeElement(post.time, this.#clock.now, { long: true }))),
        h('button', { type: 'button', class: 'icon-button', title: 'Close', onclick: () => this.#close() }, icon('close'), h('span', { class: 'sr' }, 'Close'))),
      h('div', { class: 'card-body', tabindex: post.text.length > 500 ? '0' : null, role: post.text.length > 500 ? 'group' : null, 'aria-label': post.text.length > 500 ? 'The post' : null }, passageElement(citation)),
      h('div', { class: 'card-foot' }, badges(post), originalLink(post), h('span', { class: 'grow' }), postActions(post, this.#actions)));
  }

  #close() {
    const chip = this.#chip;
    this.hide();
    this.#quiet = true;
    chip?.focus();
    this.#quiet = false;
  }

  /// Under the chip where there is room, else above it; never off the window's sides.
  #place() {
    const chip = this.#chip.getBoundingClientRect();
    const bounds = byId('scroll').getBoundingClientRect();
    if (!this.#chip.isConnected || chip.bottom < bounds.top - 8 || chip.top > bounds.bottom + 8) {
      this.hide();
      return;
    }
    const { offsetWidth: width, offsetHeight: height } = this.#card;
    const gap = 8;
    const below = chip.bottom + gap + height <= innerHeight - gap;
    const top = below ? chip.bottom + gap : Math.max(gap, chip.top - gap - height);
    const left = Math.min(Math.max(gap, chip.left + chip.width / 2 - Math.min(width / 2, 64)), innerWidth - width - gap);
    this.#card.style.left = `${Math.max(gap, left)}px`;
    this.#card.style.top = `${top}px`;
  }
}
