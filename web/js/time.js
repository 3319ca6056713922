// Time as the feed sees it. A replayed feed has its own 'now': the time of its newest post.

const STALE = 10 * 60 * 1000;          // a feed this far behind the wall clock has nothing new
const BACK = 60 * 60 * 1000;            // less is a status that a newer post overtook
const REPLAYED = 36 * 60 * 60 * 1000;  // one this far from it is a recording

export function parseTime(text) {
  const time = typeof text === 'string' ? Date.parse(text) : typeof text === 'number' ? text : NaN;
  return Number.isFinite(time) && time > 0 ? time : null;
}

/// The feed's clock: set by the server's status, moved on by the posts that arrive.
export class FeedClock extends EventTarget {
  #time = null;
  #setAt = 0;

  /// The server's word: may also set the clock back, when another feed is served now.
  set(time) {
    if (time !== null && this.#time !== null && time < this.#time - BACK) this.#time = null;
    this.advance(time);
  }

  advance(time) {
    if (time === null || (this.#time !== null && time <= this.#time)) return;
    this.#time = time;
    this.#setAt = Date.now();
    this.dispatchEvent(new Event('change'));
  }

  /// True when the feed's time is not the wall clock's.
  get replayed() {
    return this.#time !== null && Math.abs(this.#setAt - this.#time) > REPLAYED;
  }

  /// True when a feed of the present has brought nothing for a while.
  get stale() {
    return this.#time !== null && !this.replayed && Date.now() - this.#time > STALE;
  }

  /// The feed's time in milliseconds; null before the first post. A live feed's clock runs on between its posts.
  get now() {
    if (this.#time === null) return null;
    return this.replayed || this.stale ? this.#time : Math.max(this.#time, Date.now());
  }

  get newest() {
    return this.#time;
  }
}

const UNITS = [
  [60, 's'], [60, 'min'], [24, 'h'], [7, 'd'], [52.18, 'wk'], [Infinity, 'yr'],
];

/// '3 min ago' by the clock given; 'in 2 h' for a time ahead of it.
export function ago(time, now) {
  if (time === null || now === null) return '';
  let value = Math.abs(now - time) / 1000;
  if (value < 5) return 'just now';
  for (const [size, unit] of UNITS) {
    if (value < size) return now >= time ? `${Math.floor(value)} ${unit} ago` : `in ${Math.floor(value)} ${unit}`;
    value /= size;
  }
  return '';
}

const DAY = { day: 'numeric', month: 'short', year: 'numeric' };
const CLOCK = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' };

/// '14 May 2031, 17:32' in the reader's time zone; `utc` adds '(15:32 UTC)', the zone of the times that answers name.
export function absolute(time, { seconds = false, utc = false } = {}) {
  if (time === null) return '';
  const date = new Date(time);
  const clock = seconds ? { ...CLOCK, second: '2-digit' } : CLOCK;
  const local = date.toLocaleString('en-GB', { ...DAY, ...clock });
  if (!utc || date.getTimezoneOffset() === 0) return local;
  return `${local} (${date.toLocaleTimeString('en-GB', { ...CLOCK, timeZone: 'UTC' })} UTC)`;
}
