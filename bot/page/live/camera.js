// The camera: opening it, what can go wrong, the next one, its picture as a small JPEG.

export const TROUBLES = {
  insecure: "Browsers open the camera only for pages with a secure address. Please open this page by https.",
  missing: "This browser gives pages no camera. Please open this page in another one.",
  refused:
    "The camera is not allowed for this page. Allow it by the sign in the address bar, or in the settings of " +
    "your browser and your device, and try again.",
  none: "I found no camera. Please connect one and try again.",
  busy: "The camera is in use. Please close whatever else is using it, and try again.",
  unplugged: "The camera was unplugged or switched off.",
  unknown: "The camera could not be opened. Please try again.",
};

const REASONS = {
  NotAllowedError: "refused",
  SecurityError: "refused",
  NotFoundError: "none",
  OverconstrainedError: "none",
  NotReadableError: "busy",
  AbortError: "busy",
};

const PICTURE = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const FRONT = { facingMode: "user" };

/** Why there is no camera; `reason` is a key of TROUBLES. */
export class Trouble extends Error {
  constructor(reason) {
    super(TROUBLES[reason]);
    this.reason = reason;
  }
}

/** The one camera that is open, if any. */
export class Camera {
  /** @param {() => void} onUnplugged called when the picture ends by itself */
  constructor(video, onUnplugged) {
    this.video = video;
    this.onUnplugged = onUnplugged;
    this.wish = FRONT;
    this.closings = 0; // so far; what was opened before the last one is not wanted any more
    this.several = false; // whether there is another one to switch to
  }

  /**
   * Shows the wished camera's picture.
   * @returns {Promise<boolean>} false where it was closed again before it was open
   * @throws {Trouble}
   */
  async open() {
    if (!window.isSecureContext) throw new Trouble("insecure");
    if (!navigator.mediaDevices?.getUserMedia) throw new Trouble("missing");
    this.close(); // first: many phones can't have two cameras open
    const { closings } = this;
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { ...PICTURE, ...this.wish } });
      const [track] = stream.getVideoTracks();
      if (closings !== this.closings) {
        track.stop();
        return false;
      }
      this.track = track;
      this.track.onended = this.onUnplugged;
      this.video.srcObject = stream;
      await this.video.play().catch(unlessPaused);
      this.several = (await this.cameras()).length > 1;
    } catch (error) {
      if (closings !== this.closings) return false;
      this.close();
      this.wish = FRONT; // the one that failed may be gone for good
      throw new Trouble(REASONS[error.name] ?? "unknown");
    }
    return closings === this.closings;
  }

  close() {
    this.closings += 1;
    this.track?.stop();
    this.track = undefined;
    this.video.srcObject = null;
  }

  /** Whether the picture is that of a camera that looks away from who holds it. */
  get back() {
    return this.track?.getSettings().facingMode === "environment";
  }

  async cameras() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter((device) => device.kind === "videoinput");
  }

  /** Front and back take turns on a phone, all cameras elsewhere. Returns and throws as open() does. */
  async switch() {
    if (!this.track) return false; // one is just being opened
    const { facingMode, deviceId } = this.track.getSettings();
    if (facingMode) {
      this.wish = { facingMode: facingMode === "environment" ? "user" : "environment" };
      if (!(await this.open())) return false;
      // A laptop may say that its own camera faces who sits there, while none faces away.
      if (this.track.getSettings().deviceId !== deviceId) return true;
    }
    const { closings } = this;
    const ids = (await this.cameras()).map((device) => device.deviceId);
    if (closings !== this.closings) return false;
    this.wish = { deviceId: { exact: ids[(ids.indexOf(deviceId) + 1) % ids.length] } };
    return this.open();
  }
}

/** Playing is aborted where somebody pauses the picture before it has come; the camera is open all the same. */
function unlessPaused(error) {
  if (error.name !== "AbortError") throw error;
}

const canvas = document.createElement("canvas");

/**
 * What a video shows now.
 * @param {number} side pixels of the longest side, at most
 * @param {number} quality of the JPEG, 0 to 1
 * @returns {Promise<Blob | null>} null where the browser has no picture yet, or no memory
 */
export function capture(video, side, quality) {
  const scale = Math.min(1, side / Math.max(video.videoWidth, video.videoHeight));
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d", { alpha: false }).drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
}
