// How large, how good and how many frames are sent: as much as the server and the line to it can take.

// From the best on: share of the longest side that the server takes, and the JPEG's quality.
const LEVELS = [
  [1, 0.8],
  [1, 0.6],
  [0.75, 0.6],
  [0.5, 0.6],
  [0.375, 0.5],
];
const SLOW_LINE = 350; // milliseconds on the way, beyond one work of the server; above it frames get smaller
const FAST_LINE = 150; // below it they get larger again
const DOWN_MILLISECONDS = 1500; // at least, between two steps down
const UP_MILLISECONDS = 5000; // likewise, up
const NEWEST = 0.2; // weight of the latest answer in the average
const SPARE = 1.1; // kept below the highest rate, since frames may bunch up on the way
const FIRST_REST = 150; // milliseconds after a skipped frame; twice as long after each further one
const LONGEST_REST = 1000;

export class Pace {
  /** @param {{side: number, max_bytes: number, frames_a_second: number}} welcome the server's own bounds */
  constructor({ side, max_bytes, frames_a_second }) {
    this.largestSide = side;
    this.maxBytes = max_bytes;
    this.interval = (SPARE * 1000) / frames_a_second;
    this.level = 0;
    this.line = null; // milliseconds, averaged
    this.work = null; // likewise, the server's
    this.rest = 0;
    this.next = 0; // when the next frame may go
    this.stepped = 0; // when the level was changed last
  }

  get side() {
    return Math.round(this.largestSide * LEVELS[this.level][0]);
  }

  get quality() {
    return LEVELS[this.level][1];
  }

  /** How many frames may be under way: a second one pays where the way takes longer than the work. */
  get inFlight() {
    return this.line > this.work ? 2 : 1;
  }

  /** Whether a frame of so many bytes may be sent; else the next ones are smaller. */
  fits(bytes) {
    if (bytes <= this.maxBytes) return true;
    this.level = Math.min(this.level + 1, LEVELS.length - 1);
    return false;
  }

  /** A frame goes out at `now`, in milliseconds as all times here. */
  sent(now) {
    this.next = now + this.interval;
  }

  /** The server answered at `now` a frame taken at `at`. */
  answered({ type, milliseconds }, at, now) {
    if (type === "skipped") {
      this.rest = Math.min(LONGEST_REST, Math.max(FIRST_REST, 2 * this.rest));
      this.next = Math.max(this.next, now + this.rest);
    }
    if (type !== "faces") return;
    this.rest = 0;
    this.work = average(this.work, milliseconds);
    this.line = average(this.line, Math.max(0, now - at - milliseconds));
    this.step(now);
  }

  step(now) {
    const since = now - this.stepped;
    const worse = this.line > SLOW_LINE + this.work && since > DOWN_MILLISECONDS && this.level < LEVELS.length - 1;
    const better = this.line < FAST_LINE && since > UP_MILLISECONDS && this.level > 0;
    if (!worse && !better) return;
    this.level += worse ? 1 : -1;
    this.stepped = now;
  }
}

function average(past, latest) {
  return past === null ? latest : past + NEWEST * (latest - past);
}
