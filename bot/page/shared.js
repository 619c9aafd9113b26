// What both pages need.

const SPOKEN_SECONDS = 60; // in which a screen reader has come to what it is to say

/** The element of a template of this id, anew. */
export function copy(template) {
  return document.getElementById(template).content.firstElementChild.cloneNode(true);
}

/** What the server tells about itself; where it tells nothing, `live_open` is null. */
export async function loadAbout() {
  try {
    const response = await fetch("about");
    if (response.ok) return await response.json();
  } catch {
    // Offline: what is sent next will say so.
  }
  return { bot: null, live: false, live_open: null, max_bytes: Infinity, version: null };
}

/** Has screen readers say it, after what they are saying. */
export function announce(text) {
  const line = document.createElement("p");
  line.textContent = text;
  document.getElementById("announcer").append(line);
  setTimeout(() => line.remove(), SPOKEN_SECONDS * 1000);
}

/** As in inference/words.py: never 100 % for what only rounds to it. */
export function percent(share) {
  return share >= 0.9995 ? "100\u00a0%" : `${Math.min(99, Math.round(share * 100))}\u00a0%`;
}

export function capitalized(word) {
  return word[0].toUpperCase() + word.slice(1);
}
