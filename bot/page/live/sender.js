// Takes frames off the video and sends them, as fast as the pace allows.

import { capture } from "./camera.js";
import { Pace } from "./pace.js";

export class Sender {
  constructor(video, stream) {
    Object.assign(this, { video, stream });
    this.running = false;
    this.capturing = false;
  }

  start() {
    this.running = true;
    this.pump();
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
  }

  welcome(bounds) {
    this.pace = new Pace(bounds);
  }

  answered(answer, at) {
    this.pace.answered(answer, at, performance.now());
    this.pump();
  }

  /** Sends the next frame now or as soon as it may go; called whenever one of the reasons against it ends. */
  async pump() {
    clearTimeout(this.timer);
    if (!this.running || !this.stream.live || this.capturing) return;
    if (this.stream.inFlight >= this.pace.inFlight) return;
    const wait = this.pace.next - performance.now();
    if (wait > 0) {
      this.timer = setTimeout(() => this.pump(), wait);
      return;
    }
    const now = performance.now();
    this.pace.sent(now);
    this.capturing = true;
    const frame = await capture(this.video, this.pace.side, this.pace.quality);
    this.capturing = false;
    if (frame && this.running && this.stream.live && this.pace.fits(frame.size)) {
      this.stream.send(frame, now);
    }
    this.pump();
  }
}
