// The seven emotions' colours, the same in the boxes, the bars and the timeline.

/** In the server's order. Okabe and Ito's (https://jfly.uni-koeln.de/color/), and a grey. */
export const COLOURS = {
  angry: "#d55e00",
  disgust: "#009e73",
  fear: "#cc79a7",
  happy: "#e69f00",
  sad: "#0072b2",
  surprise: "#56b4e9",
  neutral: "#a3aead",
};

export const EMOTIONS = Object.keys(COLOURS);

/** What is written onto an emotion's colour. */
export function ink(emotion) {
  return emotion === "sad" ? "#ffffff" : "#000000";
}
