// The live page: the camera's picture, the faces that the server finds in it, and what is made of them.
// The words and the elements are in live.html; the looks are in live.css; each part has a module in live/.

import { Camera, Trouble } from "./live/camera.js";
import { Cards } from "./live/cards.js";
import { Faces } from "./live/faces.js";
import { draw } from "./live/overlay.js";
import { download, share, snapshot } from "./live/saving.js";
import { Sender } from "./live/sender.js";
import { Session } from "./live/session.js";
import { Story } from "./live/story.js";
import { Stream } from "./live/stream.js";
import { dress, launch, tell } from "./live/telegram.js";
import { announce, loadAbout } from "./shared.js";

const HIDDEN_SECONDS = 20; // that the page may be out of sight before its session ends
const QUIET_SECONDS = 5; // at least, between two times that the faces are announced
const NOBODY_SECONDS = 3; // without a face, before we say so
const SKIPPING_SECONDS = 1.5; // without an answer about faces, likewise
const TOAST_SECONDS = 2.5;
const ADVICE_SECONDS = 8; // for a toast that has more to say
const LABEL = 14; // CSS pixels of the words beside a box

const CONNECTIONS = {
  connecting: "Connecting",
  live: "Live",
  waiting: "Waiting",
  lost: "Reconnecting",
  paused: "Paused",
};
const ASKING = "Your browser now asks whether this page may use the camera.";
const NOBODY = "No face yet. They are found best from the front and in good light.";
const LOST = "The connection is lost.";
const HIDDEN = "The session ended, because this page was out of sight for a while.";
const TELEGRAM_ALONE = "Please open this page anew from your chat with the bot in Telegram.";
const UNSAVED = "Files can't be saved inside Telegram.";
const SAVED_ELSEWHERE = 'Once the camera is off, "Open in a browser" takes you to where they can.';

const element = (id) => document.getElementById(id);
const video = element("video");
const overlay = element("overlay");
const live = element("live");
const still = matchMedia("(prefers-reduced-motion: reduce)");

const telegram = launch(location.hash);
const about = loadAbout();
const camera = new Camera(video, () => trouble(new Trouble("unplugged")));
const faces = new Faces();
const cards = new Cards(element("faces"));
const session = new Session();
const story = new Story(session);
const address = new URL("live/stream", location.href.replace(/^http/, "ws")).href;
const stream = new Stream(address, telegram?.initData ?? "", { state: connection, welcome, answer });
const sender = new Sender(video, stream);

let state = "start"; // start, asking, running, paused, trouble or ended; live.css shows what belongs to it
let visible = []; // faces as they are drawn
const spots = new Map(); // where their labels stand, by number
let painting; // the next animation frame
let mirrored = false;
let line = { name: "closed" }; // the connection, as the stream tells it
let lastFaces = 0; // seconds, when the server last looked at a frame
let lastSomebody = 0; // likewise, when it found somebody
let skippedText = "";
let answers = []; // seconds, when those about faces came, of the last second
let said = { text: "", at: 0 }; // what was announced of the faces last, and when
let toast = ""; // a word that goes by itself
let toasting; // its timer
let elsewhere = false; // whether Telegram could hand the page over to a browser, which would be let in
let hiding; // the timer of HIDDEN_SECONDS

// From start to end

async function start() {
  element("headline").textContent = "Smile at your camera";
  element("message").textContent = ASKING;
  enter("asking");
  if (!telegram && (await about).live_open === false) {
    end("trouble", "Not here", TELEGRAM_ALONE);
    return;
  }
  try {
    if (!(await camera.open())) return;
  } catch (error) {
    trouble(error);
    return;
  }
  showCamera();
  element("switch").hidden = !camera.several;
  run();
  element("pause").focus({ preventScroll: true });
}

function run() {
  lastSomebody = lastFaces = seconds();
  said = { text: "", at: -QUIET_SECONDS };
  element("outside").hidden = true;
  enter("running");
  stream.open();
  sendInSight();
  cancelAnimationFrame(painting);
  painting = requestAnimationFrame(paint);
}

/** Sends frames only while the page is in sight; out of it for long, the session ends. */
function sendInSight() {
  clearTimeout(hiding);
  if (!open()) return;
  if (document.hidden) {
    sender.stop();
    hiding = setTimeout(endHidden, HIDDEN_SECONDS * 1000);
  } else if (state === "running") {
    video.play().catch(() => {}); // out of sight, phones may have paused it
    sender.start();
  }
}

function pause() {
  enter("paused");
  video.pause();
  sender.stop();
  stream.rest();
  announce("Paused.");
}

async function goOn() {
  await video.play();
  run();
}

/** Ends the session, in one of the states that show the panel, with a sentence why. */
function end(next, headline, message) {
  sender.stop();
  stream.close();
  camera.close();
  leaveFull();
  element("headline").textContent = headline;
  element("message").textContent = message;
  element("start").textContent = next === "trouble" ? "Try again" : "Start the camera";
  enter(next);
  announce(message);
  element("panel").focus({ preventScroll: true });
}

function endHidden() {
  end("ended", "The camera is off", HIDDEN);
}

/** Whether the camera is. */
function open() {
  return state === "running" || state === "paused";
}

function trouble(error) {
  if (!(error instanceof Trouble)) throw error;
  element("outside").hidden = !elsewhere;
  end("trouble", "No camera", error.message);
}

function enter(next) {
  state = next;
  document.body.dataset.state = next;
  element("start").disabled = next === "asking";
  element("pause-word").textContent = next === "paused" ? "Go on" : "Pause";
  showConnection();
}

// The server

function connection(now) {
  const before = line.name;
  line = now;
  if (now.name === "refused") {
    end("trouble", "Not here", now.text ?? LOST);
    return;
  }
  showConnection();
  if (now.name !== before && state === "running") announce(noticeText() || CONNECTIONS[now.name]);
}

function welcome(bounds) {
  lastSomebody = lastFaces = seconds();
  faces.renumber();
  sender.welcome(bounds);
  sender.pump();
}

function answer(message, at) {
  sender.answered(message, at);
  skippedText = message.type === "faces" ? "" : message.text;
  if (message.type === "faces" && state === "running") {
    const now = seconds();
    const seen = faces.take(message, at / 1000, now);
    session.add(seen, Date.now());
    lastFaces = now;
    if (seen.length) lastSomebody = now;
    cards.show(faces.present(now));
    answers = [...answers.filter((time) => now - time < 1), now];
    element("rate").textContent = `${answers.length} a second`;
    sayFaces(seen, now);
  }
  showConnection();
}

/** Tells screen readers who is there, when that has changed, and not too often. */
function sayFaces(seen, now) {
  const words = seen.map(({ number, text }) => `Face ${number}: ${text.replace(/ \d+ %| \(.*?\)/g, "")}.`);
  const text = words.join(" ") || "Nobody in sight.";
  if (text === said.text || now - said.at < QUIET_SECONDS) return;
  said = { text, at: now };
  announce(text);
}

function showConnection() {
  const name = state === "paused" ? "paused" : line.name;
  element("pill").dataset.connection = name;
  element("connection").textContent = CONNECTIONS[name] ?? "";
  element("rate").hidden = name !== "live";
  const text = noticeText();
  element("notice").textContent = text;
  element("notice").hidden = !text;
}

function noticeText() {
  if (toast) return toast;
  if (state !== "running") return "";
  if (line.name === "waiting" || line.name === "lost") {
    return `${line.text ?? LOST} Trying again in ${line.seconds} s.`;
  }
  if (line.name !== "live") return "";
  if (skippedText && seconds() - lastFaces > SKIPPING_SECONDS) return skippedText;
  return seconds() - lastSomebody > NOBODY_SECONDS ? NOBODY : "";
}

// The picture

function paint() {
  if (state !== "running") return;
  visible = faces.visible(seconds(), still.matches);
  drawVisible();
  painting = requestAnimationFrame(paint);
}

function drawVisible() {
  const { videoWidth, videoHeight } = video;
  const scale = Math.min(overlay.clientWidth / videoWidth, overlay.clientHeight / videoHeight) * devicePixelRatio;
  resize(overlay, videoWidth * scale, videoHeight * scale);
  const context = overlay.getContext("2d");
  context.clearRect(0, 0, overlay.width, overlay.height);
  draw(context, visible, { mirrored, text: LABEL * devicePixelRatio, spots });
}

function resize(canvas, width, height) {
  if (canvas.width === Math.round(width) && canvas.height === Math.round(height)) return;
  canvas.width = Math.round(width);
  canvas.height = Math.round(height);
}

function mirror(on) {
  mirrored = on;
  live.classList.toggle("mirrored", on);
  element("mirror").setAttribute("aria-pressed", on);
  drawVisible();
}

/** A picture of its own: nobody is in it yet, and it is mirrored if it shows who looks at it. */
function showCamera() {
  faces.clear();
  visible = [];
  mirror(!camera.back);
}

async function nextCamera() {
  try {
    if (!(await camera.switch())) return;
  } catch (error) {
    trouble(error);
    return;
  }
  showCamera();
  if (state === "paused") video.pause();
}

/** Fills the screen, or at least the window where a page may not have the screen, as on an iPhone. */
function full() {
  if (live.classList.contains("full")) {
    leaveFull();
    return;
  }
  fill(true);
  if (document.fullscreenEnabled) live.requestFullscreen().catch(() => {});
}

function leaveFull() {
  fill(false);
  if (document.fullscreenElement) document.exitFullscreen();
}

function fill(on) {
  live.classList.toggle("full", on);
  element("full").setAttribute("aria-pressed", on);
  for (const other of document.querySelectorAll("header, main > :not(.live), footer")) other.inert = on;
}

// To be saved

async function save() {
  const blob = await snapshot(video, visible, mirrored);
  if (blob) await keep(blob, "jpg");
  else pop("There is no picture yet.", TOAST_SECONDS); // as while cameras are switched
}

/** Inside Telegram a download comes to nothing, and nobody says so: there the file is shared, where it can be. */
async function keep(blob, extension) {
  if (!telegram) download(blob, extension);
  const outcome = telegram ? await share(blob, extension) : "saved";
  element("unsaved").hidden = outcome !== "impossible";
  if (outcome === "impossible") adviseToLeave();
  else if (outcome !== "cancelled") pop("Saved.", TOAST_SECONDS);
}

function adviseToLeave() {
  const advice = elsewhere ? `${UNSAVED} ${SAVED_ELSEWHERE}` : UNSAVED;
  element("unsaved").textContent = advice; // beside the buttons, as the picture may be off or out of sight
  element("outside").hidden = !elsewhere;
  pop(advice, ADVICE_SECONDS);
}

function pop(text, duration) {
  toast = text;
  announce(toast);
  showConnection();
  clearTimeout(toasting);
  toasting = setTimeout(() => {
    toast = "";
    showConnection();
  }, duration * 1000);
}

// What people do

const ACTIONS = {
  pause: () => (state === "paused" ? goOn() : pause()),
  switch: nextCamera,
  mirror: () => mirror(!mirrored),
  full,
  snapshot: save,
  stop: () => end("ended", "The camera is off", "What was seen is kept below, until you close this page."),
};
const KEYS = { " ": "pause", c: "switch", m: "mirror", f: "full", s: "snapshot" };

function pressed(event) {
  if (event.key === "Escape") leaveFull();
  const name = KEYS[event.key.toLowerCase()];
  const taken = event.ctrlKey || event.metaKey || event.altKey || event.repeat;
  if (!name || taken || !element("letters").checked || !open()) return;
  if (event.target.closest("button, a, input, summary") && event.key === " ") return; // that is their own key
  if (element(name).hidden) return;
  event.preventDefault();
  ACTIONS[name]();
}

function watchPage() {
  Object.entries(ACTIONS).forEach(([id, action]) => {
    element(id).onclick = () => open() && action();
  });
  element("start").onclick = start;
  element("outside").onclick = () => tell("web_app_open_link", { url: location.href.replace(/#.*/, "") });
  element("csv").onclick = () => keep(new Blob([session.csv()], { type: "text/csv" }), "csv");
  element("json").onclick = () => keep(new Blob([session.json()], { type: "application/json" }), "json");
  document.onkeydown = pressed;
  document.onfullscreenchange = () => document.fullscreenElement ?? leaveFull();
  document.onvisibilitychange = sendInSight;
  window.onpagehide = () => open() && endHidden();
  video.onresize = () => {
    document.body.style.setProperty("--aspect", (video.videoWidth / video.videoHeight).toFixed(4));
  };
  setInterval(() => {
    if (state === "running") cards.show(faces.present(seconds()));
    showConnection();
    story.show(state === "running" ? Date.now() : session.latest);
  }, 500);
}

function seconds() {
  return performance.now() / 1000;
}

if (telegram) {
  dress(telegram.theme);
  tell("web_app_ready");
  tell("web_app_expand");
  element("photos").hidden = true; // that page may be in no frame
  about.then((its) => {
    elsewhere = its.live_open;
  });
}
watchPage();
