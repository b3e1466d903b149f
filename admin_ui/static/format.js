// Numbers, money and times for people, in their own locale.

const sized = (options) => new Intl.NumberFormat(undefined, options);
const whole = sized({ maximumFractionDigits: 0 });
const cents = sized({ style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: 2 });
const dollars = sized({ style: "currency", currency: "USD", maximumFractionDigits: 0 });
const small = sized({ style: "currency", currency: "USD", minimumSignificantDigits: 2, maximumSignificantDigits: 2 });
const one = sized({ minimumFractionDigits: 1, maximumFractionDigits: 1 });
const three = sized({ maximumSignificantDigits: 3 });

export const count = (value) => whole.format(value);
export const several = (value, noun, nouns = `${noun}s`) => `${count(value)} ${value === 1 ? noun : nouns}`;
export const number = (value) => three.format(value);

export function money(value) {
  if (value === null || value === undefined) return "unknown";
  const size = Math.abs(value);
  if (size < 1e-9) return dollars.format(0);
  if (size < 1e-6) return `<\u00a0$0.000001`; // what a student's CPU costs: more digits would say no more
  if (size >= 1000) return dollars.format(value);
  return size >= 1 ? cents.format(value) : small.format(value);
}

export const percent = (share) => (share === null || share === undefined ? "–" : `${one.format(share * 100)}\u00a0%`);

// "96.0–98.0, n = 812"
export const bounds = ({ low, high, n }) => `${one.format(low * 100)}–${one.format(high * 100)}, n\u00a0=\u00a0${count(n)}`;

// "97.1 % (96.0–98.0, n = 812)"
export function interval({ agreement, low, high, n }) {
  if (!n) return "nothing compared yet";
  return `${percent(agreement)} (${bounds({ low, high, n })})`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minutes = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const when = (at) => full.format(new Date(at * 1000));

// A tick of a time axis: as much of the time as the width of its buckets needs.
export function tick(at, width) {
  const date = new Date(at * 1000);
  if (width < 60) return clock.format(date);
  return width < 7200 ? minutes.format(date) : day.format(date);
}

export const isoTime = (at) => new Date(at * 1000).toISOString();
export const short = (text, length = 12) => (text.length > length ? `${text.slice(0, length)}…` : text);
