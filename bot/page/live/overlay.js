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
 * @param {{mirrored: boolean, text: number}} look whether the picture is mirrored; the text's size in pixels
 */
export function draw(context, faces, { mirrored, text }) {
  const { width, height } = context.canvas;
  context.font = `600 ${text}px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  const frames = faces.map((face) => frame(face.box, mirrored, width, height));
  const texts = faces.map(variants);
  const sizes = texts.map((lines) =>
    lines.map((line) => [context.measureText(line).width + 2 * PADDING * text, LABEL_HEIGHT * text]),
  );
  const spots = place(frames, sizes, width, height, (LINE / 2 + 4 * HALO_WIDTH) * text);
  faces.forEach((face, index) => {
    context.globalAlpha = face.opacity;
    const colour = COLOURS[face.emotion.label];
    outline(context, frames[index], colour, text);
    if (spots[index]) label(context, spots[index], texts[index][spots[index].variant], face.emotion.label, text);
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
 * Finds room for each label above or below its box, where it covers no other box and no other label.
 * @param {object[]} frames rectangles in pixels
 * @param {number[][][]} sizes for each frame the width and height of each of its variants
 * @param {number} gap pixels between a box and its label
 * @returns {(object | null)[]} rectangles with the index of the variant; null where there is no room at all
 */
export function place(frames, sizes, width, height, gap) {
  const taken = [];
  return frames.map((own, index) => {
    const others = [...frames.filter((other) => other !== own), ...taken];
    for (const [variant, [across, down]] of sizes[index].entries()) {
      const x = Math.max(0, Math.min(own.x + own.width / 2 - across / 2, width - across));
      for (const y of [own.y - gap - down, own.y + own.height + gap]) {
        const spot = { x, y, width: across, height: down, variant };
        if (y < 0 || y + down > height || others.some((other) => crossing(spot, other))) continue;
        taken.push(spot);
        return spot;
      }
    }
    return within(own, sizes[index].at(-1), sizes[index].length - 1);
  });
}

/** The last resort: the top left corner of the box itself. */
function within(own, [across, down], variant) {
  if (across > own.width / 2 || down > own.height / 2) return null;
  return { x: Math.max(0, own.x), y: Math.max(0, own.y), width: across, height: down, variant };
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
