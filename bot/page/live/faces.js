// The faces in sight, each gliding from where it is shown to where it should be by now.

const GLIDE_SECONDS = 0.07; // in which a box covers two thirds of its way
const LEAD_SECONDS = 0.3; // that a face is taken to go on as it moved before; an answer comes about so late
const NEWEST = 0.5; // weight of the latest movement in the average
const FADE_SECONDS = 0.3; // from the first frame without a face until its box is gone
const HOLD_SECONDS = 1.5; // that a face is kept without being seen, so that the list beside does not jump

/** @typedef {{x: number, y: number, width: number, height: number}} Box in shares of the picture, 0 to 1 */
const SIDES = ["x", "y", "width", "height"];
const RESTING = box(() => 0);

export class Faces {
  constructor() {
    this.known = new Map(); // by number
    this.last = 0; // the highest number so far
    this.base = 0; // the highest before this connection, whose numbers begin at 1 again
    this.moved = 0;
  }

  /** After a new connection: its numbers go on where the others ended. */
  renumber() {
    this.base = this.last;
  }

  /**
   * @param {object} answer the server's, with the faces of a frame
   * @param {number} at seconds, when the frame was taken
   * @param {number} now seconds
   * @returns {object[]} the faces with their numbers on this page
   */
  take({ width, height, faces }, at, now) {
    const seen = faces.map((face) => {
      const number = this.base + face.number;
      const [x, y, across, down] = face.box;
      const goal = { x: x / width, y: y / height, width: across / width, height: down / height };
      const before = this.known.get(number);
      const speed = before ? between(before.speed, movement(before, goal, at), NEWEST) : RESTING;
      return { ...face, number, goal, speed, at, box: before?.box ?? goal, seen: now };
    });
    for (const face of this.known.values()) face.missed ??= now;
    for (const face of seen) this.known.set(face.number, face);
    this.last = Math.max(this.last, ...this.known.keys());
    return seen;
  }

  /**
   * Those to be drawn, with their opacity.
   * @param {number} now seconds
   * @param {boolean} still whether boxes jump instead of gliding, and go instead of fading
   */
  visible(now, still) {
    const share = still ? 1 : 1 - Math.exp((this.moved - now) / GLIDE_SECONDS);
    this.moved = now;
    for (const face of this.known.values()) {
      face.box = between(face.box, still ? face.goal : ahead(face, now), share);
    }
    return this.present(now)
      .map((face) => ({ ...face, opacity: opacity(now - face.missed, still) }))
      .filter((face) => face.opacity > 0);
  }

  /** Those seen lately, in the order of their numbers. */
  present(now) {
    for (const face of this.known.values()) {
      if (now - face.seen > HOLD_SECONDS) this.known.delete(face.number);
    }
    return [...this.known.values()].sort((one, other) => one.number - other.number);
  }

  clear() {
    this.known.clear();
  }
}

/** The box that lies a share of the way, 0 to 1, from one to another. */
export function between(from, to, share) {
  return box((side) => from[side] + share * (to[side] - from[side]));
}

/** Where a face should be by now; a bit further, since a gliding box comes after. */
export function ahead({ goal, speed, at }, now) {
  const seconds = Math.min(now - at + GLIDE_SECONDS, LEAD_SECONDS);
  return box((side) => goal[side] + seconds * speed[side]);
}

/** How a face moved since the frame before, in pictures a second. */
function movement(before, goal, at) {
  return box((side) => (goal[side] - before.goal[side]) / (at - before.at));
}

function box(value) {
  return Object.fromEntries(SIDES.map((side) => [side, value(side)]));
}

/** Of a face that has been missing for so many seconds; NaN for one that is there. */
function opacity(missing, still) {
  if (Number.isNaN(missing)) return 1;
  return still ? 0 : Math.max(0, 1 - missing / FADE_SECONDS);
}
