// The conversation with the server: one WebSocket after another, frames out, answers in.

const ANSWER_SECONDS = 10; // without one, the line counts as dead
const LONGEST_PAUSE = 30; // seconds between attempts to connect
const NEVER = 1008; // the close code that asks us not to come back

export class Stream {
  /**
   * @param {string} url
   * @param {string} initData Telegram's word for who opened the page, or empty
   * @param {object} on what to call:
   *   state({name, text, seconds}) with a name of connecting, live, lost (nobody answers; trying again after so many
   *     seconds), waiting (likewise, as the server asked to), refused (for good) or closed,
   *   welcome(message) with the server's bounds, answer(message, at) with when the frame was taken
   */
  constructor(url, initData, on) {
    Object.assign(this, { url, initData, on });
    this.wanted = false; // whether to connect again
    this.failures = 0; // in a row
    window.addEventListener("online", () => this.countdown && this.connect());
    window.addEventListener("offline", () => this.socket && this.lose());
  }

  /** Whether frames may be sent. */
  get live() {
    return this.welcomed && this.wanted;
  }

  get inFlight() {
    return this.sent.length;
  }

  /** Connects, or goes on after a rest. */
  open() {
    this.wanted = true;
    if (!this.socket) this.connect();
    else if (this.welcomed) this.on.state({ name: "live" });
  }

  /** Sends nothing for a while; should the server hang up meanwhile, it is left at that. */
  rest() {
    this.wanted = false;
    this.stopWaiting();
  }

  close() {
    this.rest();
    this.hangUp();
    this.on.state({ name: "closed" });
  }

  /** @param {Blob} frame. @param {number} at when it was taken, to be told with its answer */
  send(frame, at) {
    this.sent.push(at);
    this.socket.send(frame);
    if (this.sent.length === 1) this.watch();
  }

  connect() {
    this.stopWaiting();
    this.hangUp();
    this.on.state({ name: "connecting" });
    const socket = new WebSocket(this.url);
    Object.assign(this, { socket, sent: [], refusal: null });
    socket.onopen = () => socket.send(JSON.stringify({ init_data: this.initData }));
    socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    socket.onclose = ({ code }) => this.lose(code);
    this.watch();
  }

  take(message) {
    if (message.type === "refused") {
      this.refusal = message;
    } else if (message.type === "welcome") {
      clearTimeout(this.deadline);
      this.welcomed = true;
      this.on.welcome(message);
      if (this.wanted) this.on.state({ name: "live" });
    } else {
      this.failures = 0;
      const at = this.sent.shift();
      this.watch();
      this.on.answer(message, at);
    }
  }

  /** Gives the line up, should the answer that is due not come. */
  watch() {
    clearTimeout(this.deadline);
    if (!this.welcomed || this.sent.length) this.deadline = setTimeout(() => this.lose(), ANSWER_SECONDS * 1000);
  }

  lose(code) {
    const { refusal } = this;
    this.hangUp();
    if (!this.wanted) return;
    if (code === NEVER) {
      this.wanted = false;
      this.on.state({ name: "refused", text: refusal?.text });
    } else if (refusal) {
      this.wait("waiting", refusal.retry_after, refusal.text);
    } else {
      this.failures += 1;
      this.wait("lost", Math.min(LONGEST_PAUSE, 2 ** (this.failures - 1)));
    }
  }

  /** Counts down to the next attempt. */
  wait(name, seconds, text) {
    let left = Math.ceil(seconds);
    this.on.state({ name, text, seconds: left });
    this.countdown = setInterval(() => {
      left -= 1;
      if (left > 0) this.on.state({ name, text, seconds: left });
      else this.connect();
    }, 1000);
  }

  stopWaiting() {
    clearInterval(this.countdown);
    this.countdown = null;
  }

  hangUp() {
    clearTimeout(this.deadline);
    if (this.socket) {
      this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
      this.socket.close();
    }
    Object.assign(this, { socket: null, welcomed: false, sent: [] });
  }
}
