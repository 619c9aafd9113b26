// The list beside the picture: for each face its words, and its emotions as bars.

import { capitalized, copy, percent } from "../shared.js";
import { COLOURS, EMOTIONS, ink } from "./emotions.js";

const MANY = 3; // faces, from which on live.css gives them less room

export class Cards {
  constructor(list) {
    this.list = list;
    this.cards = new Map(); // by the face's number
  }

  /** @param {object[]} faces those in sight, in the order of their numbers */
  show(faces) {
    this.list.classList.toggle("many", faces.length >= MANY);
    const numbers = faces.map((face) => face.number);
    for (const [number, card] of this.cards) {
      if (numbers.includes(number)) continue;
      card.element.remove();
      this.cards.delete(number);
    }
    faces.forEach((face, index) => {
      const card = this.cards.get(face.number) ?? this.add(face.number);
      if (this.list.children[index] !== card.element) this.list.insertBefore(card.element, this.list.children[index]);
      card.show(face);
    });
  }

  add(number) {
    const card = new Card(number);
    this.cards.set(number, card);
    return card;
  }
}

class Card {
  constructor(number) {
    this.element = copy("face-template");
    this.badge = this.element.querySelector(".badge");
    this.facts = this.element.querySelectorAll(".facts dd");
    this.element.querySelector(".number").textContent = number;
    this.bars = EMOTIONS.map((emotion) => new Bar(emotion));
    this.element.querySelector(".chart").append(...this.bars.map((bar) => bar.element));
  }

  show({ emotion, text }) {
    this.badge.style.backgroundColor = COLOURS[emotion.label];
    this.badge.style.color = ink(emotion.label);
    text.split(", ").forEach((fact, index) => write(this.facts[index], capitalized(fact)));
    for (const bar of this.bars) bar.show(emotion.probabilities[bar.emotion], bar.emotion === emotion.label);
  }
}

class Bar {
  constructor(emotion) {
    this.emotion = emotion;
    this.element = copy("bar-template");
    this.element.querySelector("dt").textContent = capitalized(emotion);
    this.fill = this.element.querySelector(".fill");
    this.fill.style.backgroundColor = COLOURS[emotion];
    this.share = this.element.querySelector(".share");
  }

  show(share, highest) {
    this.element.classList.toggle("highest", highest);
    this.element.style.setProperty("--share", share);
    write(this.share, percent(share));
  }
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
