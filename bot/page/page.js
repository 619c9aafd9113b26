// The demo page: takes photos, sends them one after the other to our own server, shows what it found.
// The words and the elements are in index.html; the looks are in page.css.

import { announce, capitalized, copy, loadAbout, percent } from "./shared.js";

const MOST_SECONDS = 240; // for a photo and its answer; the server itself gives a photo 100 to come
const MOST_TRIES = 10; // of one photo, while the server asks us to come back later
const LONGEST_PAUSE = 60; // seconds that we are willing to wait when the server asks for it
const HEALTH_INTERVAL = 2; // seconds between two looks at whether the models are ready

const OUR_FAULT = "Something went wrong on my side. Please try again in a moment.";
const TOO_LARGE = "This file is too large for the server. Please choose a smaller one.";
const WITH_BOX = 1.3; // of a face, so that its portrait shows the whole box that is drawn around it
const RETRY_SECONDS = 5; // after a lost connection
const VIDEO = "This page reads photos. Videos are for the bot in Telegram.";
const UNREADABLE = "This file can't be read. Please choose it again, or another one.";

const input = document.getElementById("photos");
const results = document.getElementById("results");

const about = loadAbout();
const modelsReady = waitForModels();
let turn = Promise.resolve(); // settles when the photos chosen so far are done

/** What went wrong with a photo, in a sentence for people. */
class Failure extends Error {
  /**
   * @param {string} message
   * @param {boolean} retriable whether the same photo may succeed later
   * @param {number} [pause] seconds after which it is tried again unasked
   */
  constructor(message, retriable, pause) {
    super(message);
    this.retriable = retriable;
    this.pause = pause;
  }
}

// Server

/** Resolves once the models are ready, or when the server does not say: sending a photo will tell then. */
async function waitForModels() {
  const notice = document.getElementById("starting");
  try {
    while (!(await (await fetch("healthz", { cache: "no-store" })).json()).models_ready) {
      if (notice.hidden) announce(notice.textContent);
      notice.hidden = false;
      await sleep(HEALTH_INTERVAL);
    }
  } catch {
    // No JSON or no connection.
  }
  notice.hidden = true;
}

/**
 * Sends one photo. XMLHttpRequest, because fetch cannot report the progress of an upload.
 * @param {File} file
 * @param {(share: number) => void} onUpload called with the share sent, 0 to 1
 * @param {AbortSignal} signal
 * @returns {Promise<object>} the server's answer
 * @throws {Failure}
 */
async function analyze(file, onUpload, signal) {
  const content = await read(file);
  signal.throwIfAborted();
  const request = new XMLHttpRequest();
  await new Promise((resolve, reject) => {
    request.open("POST", "analyze");
    request.responseType = "json";
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    request.upload.onprogress = (event) => onUpload(event.loaded / event.total);
    request.onload = resolve;
    request.onerror = () =>
      reject(new Failure("The photo could not be sent. Check your connection.", true, RETRY_SECONDS));
    request.timeout = 1000 * MOST_SECONDS;
    request.ontimeout = request.onerror;
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send(content);
  });
  if (request.status !== 200) throw refusal(request);
  return request.response;
}

/**
 * A file's bytes, which only one photo at a time has in memory. Sent as it is, a folder, or a file that is gone
 * by now, would fail just as a lost connection does.
 */
async function read(file) {
  try {
    return await file.arrayBuffer();
  } catch {
    throw new Failure(UNREADABLE, false);
  }
}

function refusal(request) {
  const retriable = request.status === 429 || request.status >= 500;
  const pause = Number(request.getResponseHeader("Retry-After")) || undefined;
  // There is no JSON when it was the platform in front of our server that answered.
  const theirs = request.status === 413 ? TOO_LARGE : OUR_FAULT;
  return new Failure(request.response?.error ?? theirs, retriable, pause);
}

// Results

/** One photo on the page, from waiting to its faces or its failure. */
class Result {
  constructor(file) {
    this.file = file;
    this.stop = new AbortController();
    this.urls = [];
    this.element = copy("result-template");
    this.part("name").textContent = file.name;
    this.part("remove").setAttribute("aria-label", `Remove ${file.name}`);
    this.part("remove").onclick = () => this.remove();
    this.part("retry").onclick = () => {
      this.element.focus();
      this.queue();
    };
    this.part("another").onclick = () => input.click();
    this.showPreview();
  }

  part(name) {
    return this.element.querySelector(`.${name}`);
  }

  url(blob) {
    const url = URL.createObjectURL(blob);
    this.urls.push(url);
    return url;
  }

  /** Moves on to another state; page.css shows the parts that belong to it. */
  enter(state, status, detail = "") {
    this.element.dataset.state = state;
    this.part("status").textContent = status;
    this.part("detail").textContent = detail;
  }

  showPreview() {
    const image = this.element.querySelector("img");
    // A browser that cannot show the file, often HEIC, may still send it.
    image.onerror = () => image.closest(".picture").classList.add("empty");
    image.src = this.url(this.file);
  }

  async queue() {
    this.enter("waiting", "Waiting for its turn");
    const { max_bytes: limit } = await about;
    if (this.file.type.startsWith("video/")) {
      this.fail(new Failure(VIDEO, false));
      return;
    }
    if (this.file.size > limit) {
      this.fail(new Failure(`This file is too large: ${megabytes(limit)} is the most I can take.`, false));
      return;
    }
    turn = turn.then(() => this.run());
  }

  async run() {
    try {
      if (!this.stop.signal.aborted) await this.show(await this.ask());
    } catch (error) {
      if (this.stop.signal.aborted) return;
      if (!(error instanceof Failure)) reportError(error);
      this.fail(error instanceof Failure ? error : new Failure(OUR_FAULT, true));
    }
  }

  async ask() {
    this.enter("working", "Waiting for the models to start");
    this.progress(null);
    announce(`Analyzing ${this.file.name}`);
    await modelsReady;
    for (let tries = 1; ; tries += 1) {
      this.stop.signal.throwIfAborted();
      this.enter("working", "Sending the photo");
      try {
        return await analyze(this.file, (share) => this.uploaded(share), this.stop.signal);
      } catch (error) {
        if (!(error.pause <= LONGEST_PAUSE) || tries === MOST_TRIES) throw error;
        await this.pause(error);
      }
    }
  }

  uploaded(share) {
    this.progress(share < 1 ? share : null);
    if (share === 1) this.enter("working", "Looking for faces");
  }

  /** @param {number | null} share 0 to 1, or null while nobody can tell */
  progress(share) {
    const bar = this.element.querySelector("progress");
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
  }

  async pause({ message, pause }) {
    this.progress(null);
    for (let seconds = pause; seconds > 0 && !this.stop.signal.aborted; seconds -= 1) {
      this.enter("working", message, `Trying again in ${seconds} s`);
      await sleep(1);
    }
  }

  async show(answer) {
    const annotated = this.url(jpeg(answer.image));
    const image = this.element.querySelector("img");
    image.onerror = null;
    image.src = annotated;
    await image.decode();
    image.alt = this.file.name + (answer.faces.length ? ", with the faces marked and numbered" : "");
    image.closest(".picture").classList.remove("empty");
    this.part("whole").href = annotated;
    this.part("download").href = annotated;
    this.part("download").download = `${this.file.name.replace(/\.[^.]*$/, "")}-faces.jpg`;
    this.part("faces").replaceChildren(
      ...answer.faces.map((face, index) => faceItem(face, index + 1, answer, annotated)),
    );
    const seconds = (answer.milliseconds / 1000).toFixed(1);
    const detail = `${answer.width} × ${answer.height} pixels, ${seconds} s`;
    this.enter(answer.faces.length ? "found" : "nothing", answer.summary, detail);
    const spoken = answer.faces.map((face, index) => `Face ${index + 1}: ${face.text}.`);
    announce([`${this.file.name}: ${answer.summary}`, ...spoken].join(" "));
  }

  fail(error) {
    this.enter("failed", error.message);
    this.part("retry").hidden = !error.retriable;
    this.part("another").hidden = error.retriable;
    announce(`${this.file.name}: ${error.message}`);
  }

  remove() {
    this.stop.abort();
    this.urls.forEach((url) => URL.revokeObjectURL(url));
    const neighbour = this.element.nextElementSibling ?? this.element.previousElementSibling;
    (neighbour ?? input).focus();
    this.element.remove();
  }
}

/** The list item of one face; `number` is the one drawn in the picture. */
function faceItem(face, number, { width, height }, picture) {
  const item = copy("face-template");
  const part = (selector) => item.querySelector(selector);
  const { label, probabilities } = face.emotion;
  part(".number").textContent = number;
  // The server's own words, as in the picture and in the bot: emotion, gender, age.
  const facts = face.text.split(", ");
  item.querySelectorAll(".facts dd").forEach((cell, index) => {
    cell.textContent = capitalized(facts[index]);
  });
  const bars = Object.entries(probabilities).map(([name, share]) => bar(name, share, name === label));
  part(".chart").append(...bars);

  const [left, top, boxWidth, boxHeight] = face.box;
  const side = WITH_BOX * Math.max(boxWidth, boxHeight);
  const corner = [left + (boxWidth - side) / 2, top + (boxHeight - side) / 2];
  part(".portrait").setAttribute("viewBox", [...corner, side, side].join(" "));
  Object.entries({ href: picture, width, height }).forEach(([name, value]) =>
    part(".portrait image").setAttribute(name, value),
  );
  return item;
}

function bar(name, share, highest) {
  const row = copy("bar-template");
  row.classList.toggle("highest", highest);
  row.querySelector("dt").textContent = capitalized(name);
  row.querySelector(".share").textContent = percent(share);
  row.querySelector(".fill").style.inlineSize = `${share * 100}%`;
  return row;
}

// Photos in

function take(files) {
  const taken = [...files].map((file) => new Result(file));
  if (!taken.length) return;
  results.prepend(...taken.map((result) => result.element));
  taken[0].element.scrollIntoView({ block: "start" });
  taken.forEach((result) => result.queue());
}

function watchIntake() {
  input.onchange = () => {
    take(input.files);
    input.value = ""; // so that the same file can be chosen again
  };
  document.onpaste = (event) => take(event.clipboardData.files);
  document.ondragover = (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  };
  document.ondragleave = (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  };
  document.ondrop = (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    take(event.dataTransfer.files);
  };
}

async function showAbout() {
  const { bot, live, live_open: open, max_bytes: limit, version } = await about;
  document.getElementById("live").hidden = !(live && open);
  if (bot) {
    const link = document.getElementById("telegram");
    link.href = `https://t.me/${bot}`;
    link.hidden = false;
  }
  if (limit < Infinity) document.getElementById("limit").textContent = `, up to ${megabytes(limit)}`;
  if (version) document.getElementById("version").textContent = `Version ${version}`;
}

// Helpers

/** A data URL's picture as a blob: fetch may not read data URLs under the page's security policy. */
function jpeg(dataUrl) {
  const binary = atob(dataUrl.slice(dataUrl.indexOf(",") + 1));
  return new Blob([Uint8Array.from(binary, (character) => character.charCodeAt(0))], { type: "image/jpeg" });
}

function sleep(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

function megabytes(bytes) {
  return `${Math.floor(bytes / 2 ** 20)}\u00a0MB`;
}

watchIntake();
showAbout();
