"""Text as Telegram sees it: entities in UTF-16 units, and HTML that must be well-formed."""

import re
from typing import Any

from tests.botapi.limits import ApiError, bad_request

ENTITIES = {
    "bot_command": re.compile(r"(?<![\w/<>])/\w{1,64}(?:@[A-Za-z]\w{2,31})?(?![\w/])", re.ASCII),
    "mention": re.compile(r"(?<!\w)@[A-Za-z]\w{3,31}(?!\w)", re.ASCII),
}

TAGS = {
    **dict.fromkeys(["b", "strong"], "bold"),
    **dict.fromkeys(["i", "em"], "italic"),
    **dict.fromkeys(["u", "ins"], "underline"),
    **dict.fromkeys(["s", "strike", "del"], "strikethrough"),
    **dict.fromkeys(["span", "tg-spoiler"], "spoiler"),
    "code": "code",
    "pre": "pre",
    "a": "text_link",
    "blockquote": "blockquote",
    "tg-emoji": "custom_emoji",
}
TAG = re.compile(r"""<(?P<end>/?)(?P<name>[^\s>]*)(?P<rest>(?:[^>"']|"[^"]*"|'[^']*')*)(?P<close>>?)""")
ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([\w.-]+))""")
ESCAPE = re.compile(r"&(?:#(\d+)|#x([0-9a-fA-F]+)|([a-z]+));?")
ESCAPES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}


def utf16_length(text: str) -> int:
    """Length in UTF-16 units, in which Telegram counts offsets."""
    return len(text.encode("utf-16-le")) // 2


def find_entities(text: str) -> list[dict[str, Any]]:
    """The commands and mentions in a text, as MessageEntity."""
    found = [
        {"offset": utf16_length(text[: match.start()]), "length": utf16_length(match[0]), "type": name}
        for name, pattern in ENTITIES.items()
        for match in pattern.finditer(text)
    ]
    return sorted(found, key=lambda entity: entity["offset"])


def parse_html(html: str) -> tuple[str, list[dict[str, Any]]]:
    """HTML -> what is read, and its entities.

    Raises:
        ValueError: in the words of TDLib's parser, when it is not well-formed.
    """
    text, entities, opened, position = "", [], [], 0
    while (start := html.find("<", position)) >= 0:
        text += _unescape(html[position:start])
        where = f"at byte offset {len(html[:start].encode())}"
        tag = TAG.match(html, start)
        position, name = tag.end(), tag["name"].lower()
        if not tag["end"] and name not in TAGS and tag.end("name") < len(html):
            raise ValueError(f'Unsupported start tag "{name}" {where}')
        if not tag["close"]:
            raise ValueError(f"Unclosed {'end' if tag['end'] else 'start'} tag {where}")
        if not tag["end"]:
            opened.append((name, utf16_length(text), _attributes(name, tag["rest"], where)))
            continue
        if not opened:
            raise ValueError(f"Unexpected end tag {where}")
        expected, offset, attributes = opened.pop()
        if name != expected:
            raise ValueError(f'Unmatched end tag {where}, expected "</{expected}>", found "</{name}>"')
        if length := utf16_length(text) - offset:
            entities.append({"offset": offset, "length": length, "type": TAGS[name], **attributes})
    if opened:
        raise ValueError(f'Can\'t find end tag corresponding to start tag "{opened[-1][0]}"')
    return text + _unescape(html[position:]), entities


def _attributes(name: str, rest: str, where: str) -> dict[str, str]:
    """What a start tag adds to its entity."""
    given = {key.lower(): _unescape(a or b or c) for key, a, b, c in ATTRIBUTE.findall(rest)}
    if name == "span" and given.get("class") != "tg-spoiler":
        raise ValueError(f'Tag "span" must have class "tg-spoiler" {where}')
    if name == "a":
        return {"url": given.get("href", "")}
    return {"custom_emoji_id": given.get("emoji-id", "")} if name == "tg-emoji" else {}


def _unescape(html: str) -> str:
    """Telegram knows four names and the numbers; anything else is left as it is."""

    def character(match: re.Match[str]) -> str:
        if match[3]:
            return ESCAPES.get(match[3], match[0])
        code = int(match[1]) if match[1] else int(match[2], 16)
        return chr(code) if 0 < code < 0xD800 or 0xDFFF < code < 0x110000 else match[0]

    return ESCAPE.sub(character, html)


def format_text(
    text: str, parse_mode: str = "", entities: list[dict[str, Any]] | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """Text as the bot sends it -> what is read, and its entities.

    Raises:
        ApiError: 400 for text that cannot be parsed; 501 for Markdown, which this server cannot.
    """
    mode = parse_mode.lower()
    if mode == "html":
        try:
            text, entities = parse_html(text)
        except ValueError as error:
            raise bad_request(f"can't parse entities: {error}") from None
    elif mode in ("markdown", "markdownv2"):
        raise ApiError(501, "Not Implemented: the test server parses HTML only")
    elif mode not in ("", "none"):
        raise bad_request("unsupported parse_mode")
    return text, sorted([*(entities or []), *find_entities(text)], key=lambda entity: entity["offset"])
