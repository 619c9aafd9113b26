// What can be taken along: the picture with its boxes, as a file.

import { draw } from "./overlay.js";

const LABEL = 0.026; // size of the words, as a share of the square root of the picture's area
const QUALITY = 0.92; // of the JPEG
const REVOKE_SECONDS = 60; // in which the browser has read a file; it may ask first where to put it

/** What a video shows now, with the faces drawn on it, as a JPEG. Mirrored or not, the words are not. */
export function snapshot(video, faces, mirrored) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext("2d");
  if (mirrored) context.setTransform(-1, 0, 0, 1, canvas.width, 0);
  context.drawImage(video, 0, 0);
  context.resetTransform();
  draw(context, faces, { mirrored, text: LABEL * Math.sqrt(canvas.width * canvas.height) });
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}

/** Saves a file. */
export function download(blob, extension) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = named(extension);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), REVOKE_SECONDS * 1000);
}

/**
 * Leaves it to the device what becomes of a file, for where downloads come to nothing.
 * @returns {Promise<"shared" | "cancelled" | "impossible">}
 */
export async function share(blob, extension) {
  const files = [new File([blob], named(extension), { type: blob.type })];
  if (!navigator.canShare?.({ files })) return "impossible";
  try {
    await navigator.share({ files });
    return "shared";
  } catch (error) {
    // InvalidStateError: the last file is still being asked about. Others: this kind of file may not be shared.
    return ["AbortError", "InvalidStateError"].includes(error.name) ? "cancelled" : "impossible";
  }
}

/** A file's name, by the time. */
function named(extension) {
  return `faces-${new Date().toISOString().slice(0, 19).replace(/\D/g, "-")}.${extension}`;
}
