// The last minute of one face: its emotions stacked, and the same in words.

import { percent } from "../shared.js";
import { COLOURS, EMOTIONS } from "./emotions.js";

export const SPAN_SECONDS = 60;
const GAP_SECONDS = 1.5; // without a reading, after which the picture is interrupted
const WORTH_TELLING = 0.05; // share of the minute

/** The rows of one face, cut where it was out of sight. */
export function stretches(rows) {
  const parts = [];
  for (const row of rows) {
    const last = parts.at(-1)?.at(-1);
    if (last && row[0] - last[0] < GAP_SECONDS * 1000) parts.at(-1).push(row);
    else parts.push([row]);
  }
  return parts;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number[][]} rows of one face, as Session has them
 * @param {number} now milliseconds since 1970, the right edge
 */
export function draw(context, rows, now) {
  const { width, height } = context.canvas;
  context.clearRect(0, 0, width, height);
  const across = (time) => width * (1 - (now - time) / (SPAN_SECONDS * 1000));
  for (const stretch of stretches(rows)) {
    let floor = stretch.map(() => 0);
    EMOTIONS.forEach((emotion, index) => {
      const ceiling = stretch.map((row, at) => floor[at] + row[2 + index]);
      context.beginPath();
      stretch.forEach(([time], at) => context.lineTo(across(time), height * (1 - floor[at])));
      for (let at = stretch.length - 1; at >= 0; at -= 1) {
        context.lineTo(across(stretch[at][0]), height * (1 - ceiling[at]));
      }
      context.fillStyle = COLOURS[emotion];
      context.fill();
      floor = ceiling;
    });
  }
}

/** The mean over the rows of one face, such as `happy 82 %, neutral 11 %`. */
export function tell(rows) {
  const means = EMOTIONS.map((emotion, index) => {
    const mean = rows.reduce((sum, row) => sum + row[2 + index], 0) / rows.length;
    return { emotion, mean };
  });
  return means
    .filter(({ mean }) => mean >= WORTH_TELLING)
    .sort((one, other) => other.mean - one.mean)
    .map(({ emotion, mean }) => `${emotion} ${percent(mean)}`)
    .join(", ");
}
