"""Text as Telegram sees it: its entities, in UTF-16 units."""

import re
from typing import Any

ENTITIES = {
    "bot_command": re.compile(r"(?<![\w/<>])/\w{1,64}(?:@[A-Za-z]\w{2,31})?(?![\w/])", re.ASCII),
    "mention": re.compile(r"(?<!\w)@[A-Za-z]\w{3,31}(?!\w)", re.ASCII),
}


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
