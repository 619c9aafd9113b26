// The part of the page that tells the last minute and what can be saved.

import { copy } from "../shared.js";
import { SPAN_SECONDS, draw, tell } from "./timeline.js";

export class Story {
  constructor(session) {
    this.session = session;
    this.element = document.getElementById("story");
    this.who = document.getElementById("who");
    this.canvas = document.getElementById("timeline");
    this.chosen = null; // the number of the face that is told about; null for the first of the last frame
  }

  /** @param {number} end of the minute, in milliseconds since 1970 */
  show(end) {
    this.end = end;
    const { rows } = this.session;
    this.element.hidden = !rows.length;
    if (!rows.length) return;
    const minute = this.session.since(SPAN_SECONDS, end);
    const numbers = [...new Set(minute.map((row) => row[1]))].sort((one, other) => one - other);
    if (!numbers.includes(this.chosen)) this.chosen = null;
    const number = this.chosen ?? minute.find((row) => row[0] === minute.at(-1)[0])?.[1];
    this.choices(numbers, number);
    this.chart(minute.filter((row) => row[1] === number), number);
    const start = new Date(rows[0][0]).toLocaleTimeString([], { timeStyle: "short" });
    write("kept", `${rows.length === 1 ? "1 reading" : `${rows.length.toLocaleString()} readings`} since ${start}.`);
  }

  chart(rows, number) {
    const { canvas } = this;
    canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
    canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
    draw(canvas.getContext("2d"), rows, this.end);
    write("tale", rows.length ? `Face ${number}: ${tell(rows)}.` : "Nobody was in sight.");
  }

  /** One radio button a face, where there is a choice. */
  choices(numbers, number) {
    this.who.hidden = numbers.length < 2;
    if (this.shown !== numbers.join()) {
      this.shown = numbers.join();
      const focused = this.who.contains(document.activeElement);
      this.who.replaceChildren(...numbers.map((each) => this.choice(each)));
      if (focused) this.who.querySelector(`[value="${number}"]`)?.focus();
    }
    const radio = this.who.querySelector(`[value="${number}"]`);
    if (radio) radio.checked = true;
  }

  choice(number) {
    const label = copy("who-template");
    const radio = label.querySelector("input");
    radio.value = number;
    radio.onchange = () => {
      this.chosen = number;
      this.show(this.end);
    };
    label.querySelector("span").textContent = `Face ${number}`;
    return label;
  }
}

function write(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
}
