// What was seen since the camera was started: for the timeline, and to be saved. Kept on this page alone.

import { EMOTIONS } from "./emotions.js";

const LONGEST_SECONDS = 3600; // of the past that is kept
const MOST_ROWS = 200_000; // likewise, which bounds the memory with a crowd in the picture
const SLACK = 1.05; // rows are thrown away in bundles, which is faster

const COLUMNS = ["time", "face", ...EMOTIONS, "gender", "gender_probability", "age", "age_low", "age_high"];

export class Session {
  constructor() {
    this.rows = [];
    this.latest = 0; // milliseconds since 1970, of the last frame, with or without a face
  }

  /** @param {object[]} faces as the server tells them. @param {number} now milliseconds since 1970 */
  add(faces, now) {
    this.latest = now;
    for (const face of faces) {
      const { label, probability } = face.gender;
      const female = label === "female" ? probability : 1 - probability;
      const shares = EMOTIONS.map((emotion) => face.emotion.probabilities[emotion]);
      // Numbers alone, which take the least memory.
      this.rows.push([now, face.number, ...shares, female, face.age.years, face.age.low, face.age.high]);
    }
    this.prune(now);
  }

  prune(now) {
    const old = this.rows.length && now - this.rows[0][0] > SLACK * LONGEST_SECONDS * 1000;
    if (!old && this.rows.length < SLACK * MOST_ROWS) return;
    this.rows = this.rows.slice(-MOST_ROWS).filter(([time]) => now - time <= LONGEST_SECONDS * 1000);
  }

  /** The rows of the last so many seconds, oldest first. */
  since(seconds, now) {
    const start = now - seconds * 1000;
    let index = this.rows.length;
    while (index && this.rows[index - 1][0] >= start) index -= 1;
    return this.rows.slice(index);
  }

  /** For spreadsheets: one line a face and frame. */
  csv() {
    const lines = this.rows.map((row) => Object.values(record(row)).join(","));
    return [COLUMNS.join(","), ...lines, ""].join("\r\n");
  }

  /** The same rows, each as an object. */
  json() {
    return JSON.stringify(this.rows.map(record));
  }
}

function record([time, face, ...values]) {
  const shares = values.slice(0, EMOTIONS.length).map((share) => Number(share.toFixed(4)));
  const [female, ...age] = values.slice(EMOTIONS.length);
  const gender = female >= 0.5 ? ["female", female] : ["male", 1 - female];
  const cells = [new Date(time).toISOString(), face, ...shares, gender[0], Number(gender[1].toFixed(4)), ...age];
  return Object.fromEntries(COLUMNS.map((column, index) => [column, cells[index]]));
}
