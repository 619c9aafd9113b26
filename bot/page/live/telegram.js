// Telegram's side of a Mini App, without Telegram's script, which a page of ours would load from elsewhere.
// https://core.telegram.org/bots/webapps and https://docs.telegram-mini-apps.com/platform/launch-parameters

const READABLE = 4.5; // contrast of text that WCAG 2.2 asks for
const READABLE_FOR_LONG = 7;

/**
 * What Telegram opens the page with.
 * @param {string} fragment of the page's address
 * @returns {{initData: string, theme: object} | null} null outside Telegram
 */
export function launch(fragment) {
  const parameters = new URLSearchParams(fragment.replace(/^#/, ""));
  if (!parameters.has("tgWebAppVersion")) return null;
  return { initData: parameters.get("tgWebAppData") ?? "", theme: parsed(parameters.get("tgWebAppThemeParams")) };
}

function parsed(json) {
  try {
    return JSON.parse(json) ?? {};
  } catch {
    return {};
  }
}

/**
 * A theme of Telegram's as page.css's colours; of theirs only what can be read.
 * @returns {{scheme: "light" | "dark", colours: object} | null} null where there is no theme
 */
export function palette(theme) {
  const colour = (name) => (/^#[0-9a-f]{6}$/i.test(theme[name]) ? theme[name] : undefined);
  const surface = colour("section_bg_color") ?? colour("bg_color");
  if (!surface) return null;
  const ground = colour("secondary_bg_color") ?? surface;
  const colours = { "--surface": surface, "--ground": ground };
  const take = (property, name, least, ...grounds) => {
    const given = colour(name);
    if (given && grounds.every((under) => contrast(given, under) >= least)) colours[property] = given;
  };
  take("--ink", "text_color", READABLE_FOR_LONG, surface, ground);
  take("--quiet", "hint_color", READABLE, surface, ground);
  const button = colour("button_color");
  const label = colour("button_text_color");
  if (button && label && contrast(button, label) >= READABLE && contrast(button, ground) >= READABLE) {
    Object.assign(colours, { "--accent": button, "--accent-strong": button, "--on-accent": label });
  }
  return { scheme: luminance(surface) < 0.18 ? "dark" : "light", colours };
}

/** WCAG's contrast of two colours #rrggbb, 1 to 21. */
export function contrast(one, other) {
  const [darker, lighter] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (lighter + 0.05) / (darker + 0.05);
}

function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((start) => {
    const share = parseInt(colour.slice(start, start + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** Dresses the page in a theme, whatever scheme the device has. */
export function dress(theme, root = document.documentElement) {
  const dressed = palette(theme);
  if (!dressed) return;
  root.style.colorScheme = dressed.scheme;
  document.getElementById("dark").media = dressed.scheme === "dark" ? "all" : "not all";
  Object.entries(dressed.colours).forEach(([property, value]) => root.style.setProperty(property, value));
}

/** Tells the app around the page something, by whichever way that app has. */
export function tell(eventType, eventData = {}) {
  const message = JSON.stringify({ eventType, eventData });
  if (window.TelegramWebviewProxy) window.TelegramWebviewProxy.postEvent(eventType, JSON.stringify(eventData));
  else if (window.external && "notify" in window.external) window.external.notify(message);
  else if (window.parent !== window) window.parent.postMessage(message, "*"); // nothing in it is secret
}
