// Faces drawn over a picture: a box in the colour of the emotion, the number and a few words beside it.

import { COLOURS, ink } from "./emotions.js";

const HALO = "rgb(0 0 0 / 65%)"; // sets a line off from a picture of its own colour
// Shares of the text's size.
const LINE = 0.18;
const HALO_WIDTH = 0.07;
const PADDING = 0.45;
const LABEL_HEIGHT = 1.6;
const CORNER = 0.4;

/**
 * @param {CanvasRenderingContext2D} context of a canvas that is as large as the picture
 * @param {object[]} faces as Faces.visible gives them
 * @param {object} look
 * @param {boolean} look.mirrored whether the picture is
 * @param {number} look.text the text's size in pixels
 * @param {Map<number, object>} [look.spots] where labels stood in the picture before, by number; changed to where
 *   they stand now
 */
export function draw(context, faces, { mirrored, text, spots = new Map() }) {
  const { width, height } = context.canvas;
  context.font = `600 ${text}px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  const frames = faces.map((face) => frame(face.box, mirrored, width, height));
  const texts = faces.map(variants);
  const sizes = texts.map((lines) =>
    lines.map((line) => [context.measureText(line).width + 2 * PADDING * text, LABEL_HEIGHT * text]),
  );
  const before = faces.map((face) => spots.get(face.number));
  const now = place(frames, sizes, width, height, (LINE / 2 + 4 * HALO_WIDTH) * text, before);
  spots.clear();
  faces.forEach((face, index) => {
    context.globalAlpha = face.opacity;
    const colour = COLOURS[face.emotion.label];
    outline(context, frames[index], colour, text);
    if (!now[index]) return;
    label(context, now[index], texts[index][now[index].variant], face.emotion.label, text);
    spots.set(face.number, now[index]);
  });
  context.globalAlpha = 1;
}

/** A box in shares of the picture -> a rectangle in its pixels, where it is when the picture is mirrored. */
export function frame(box, mirrored, width, height) {
  const x = mirrored ? 1 - box.x - box.width : box.x;
  return { x: x * width, y: box.y * height, width: box.width * width, height: box.height * height };
}

/** What may be written beside a face, the longest first. */
export function variants({ number, text }) {
  const [emotion, gender, age] = text.split(", ").map((fact) => fact.replace(/^about /, "").split(" ")[0]);
  return [`${number}  ${emotion} · ${gender} · ${age}`, `${number}  ${emotion}`, `${number}`];
}

/**
 * Finds room for each label above or below its box, where it covers no other box and no other label: for the number
 * of each face first, then for as many words as fit. A label stays as it was while it can, and gets more words only
 * where a gap is left around them, so that it does not change with each tremor of a box.
 * @param {object[]} frames rectangles in pixels
 * @param {number[][][]} sizes for each frame the width and height of each of its variants
 * @param {number} gap pixels between a box and its label
 * @param {(object | undefined)[]} before what this gave for each in the picture before
 * @returns {(object | null)[]} rectangles with the index of the variant, and whether they are below their box; null
 *   where there is no room at all
 */
export function place(frames, sizes, width, height, gap, before = []) {
  const everyone = frames.map((_, index) => index);
  const spots = frames.map(() => null);

  /** Puts a label there, unless that with so much room around it is taken or not in the picture. */
  function put(index, variant, below, room) {
    const own = frames[index];
    const [across, down] = sizes[index][variant];
    const x = Math.max(0, Math.min(own.x + own.width / 2 - across / 2, width - across));
    const y = below ? own.y + own.height + gap : own.y - gap - down;
    const needed = { x: x - room, y: y - room, width: across + 2 * room, height: down + 2 * room };
    const taken = [...frames, ...spots].filter((other) => other && other !== own && other !== spots[index]);
    const free = needed.y >= 0 && needed.y + needed.height <= height && !taken.some((other) => crossing(needed, other));
    if (free) spots[index] = { x, y, width: across, height: down, variant, below };
    return free;
  }

  for (const index of everyone.filter((one) => before[one])) {
    put(index, before[index].variant, before[index].below, 0);
  }
  for (const index of everyone.filter((one) => !spots[one])) {
    const number = sizes[index].length - 1;
    put(index, number, false, 0) || put(index, number, true, 0);
  }
  for (const index of everyone.filter((one) => spots[one])) {
    const { variant, below } = spots[index];
    const more = [...Array(variant).keys()];
    more.some((longer) => put(index, longer, below, gap) || put(index, longer, !below, gap));
  }
  return everyone.map((index) => spots[index] ?? within(frames[index], sizes[index]));
}

/** The last resort: the top left corner of the box itself. */
function within(own, sizes) {
  const variant = sizes.length - 1;
  const [across, down] = sizes[variant];
  if (across > own.width / 2 || down > own.height / 2) return null;
  return { x: Math.max(0, own.x), y: Math.max(0, own.y), width: across, height: down, variant, below: false };
}

function crossing(one, other) {
  return (
    one.x < other.x + other.width &&
    other.x < one.x + one.width &&
    one.y < other.y + other.height &&
    other.y < one.y + one.height
  );
}

function outline(context, { x, y, width, height }, colour, text) {
  context.beginPath();
  context.roundRect(x, y, width, height, CORNER * text);
  stroke(context, HALO, (LINE + 2 * HALO_WIDTH) * text);
  stroke(context, colour, LINE * text);
}

function stroke(context, style, width) {
  context.strokeStyle = style;
  context.lineWidth = width;
  context.stroke();
}

function label(context, { x, y, width, height }, words, emotion, text) {
  context.beginPath();
  context.roundRect(x, y, width, height, CORNER * text);
  context.fillStyle = COLOURS[emotion];
  context.fill();
  stroke(context, HALO, HALO_WIDTH * text);
  context.fillStyle = ink(emotion);
  context.fillText(words, x + width / 2, y + height / 2 + text / 20);
}
