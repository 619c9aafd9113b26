"""The other side of the chat: what users send, as the updates Telegram would make of it."""

import secrets
import time
from pathlib import PurePath

from tests.botapi.words import find_entities
from tests.botapi.world import Json, World

STRANGER = 1  # id of the user who speaks in a group where no other is named


class People(World):
    """A world with users. Each function returns the update, which also waits for delivery in `pending`
    unless Telegram would not send it: not asked for by `allowed_updates`, or kept back by privacy mode.

    A positive chat id is the private chat of that user, a negative one is a group.
    """

    def send(
        self, chat_id: int, *, user: int | None = None, reply_to: int | None = None, **content: object
    ) -> Json:
        """Any message: the content is what Message has beside sender, chat and date, as `dice={...}`.

        Args:
            user: id of the sender in a group.
            reply_to: id of the message answered.

        Raises:
            KeyError: there is no message `reply_to` in the chat.
        """
        with self.changed:
            if chat_id in self.blocked:
                self.unblock(chat_id)
            sender = self.user(user or (chat_id if chat_id > 0 else STRANGER))
            content = {name: value for name, value in content.items() if value is not None}
            return self.queue("message", self.add_message(chat_id, sender, content, reply_to))

    def send_text(
        self, chat_id: int, text: str, *, user: int | None = None, reply_to: int | None = None
    ) -> Json:
        """A message of text; commands and mentions in it become entities."""
        entities = find_entities(text) or None
        return self.send(chat_id, user=user, reply_to=reply_to, text=text, entities=entities)

    def send_photo(
        self,
        chat_id: int,
        image: bytes,
        caption: str | None = None,
        reply_to: int | None = None,
        media_group_id: str | None = None,
        user: int | None = None,
    ) -> Json:
        """A photo.

        Args:
            image: a picture of any size, as JPEG, PNG, WebP, GIF or BMP.

        Raises:
            ValueError: the picture cannot be read; Telegram's apps would not send it as a photo.
        """
        photo = self.store_photo(image)
        return self._send_captioned(chat_id, caption, reply_to, media_group_id, user, photo=photo)

    def send_album(self, chat_id: int, images: list[bytes], caption: str | None = None) -> list[Json]:
        """Photos sent together: one update each, the caption on the first."""
        group = str(secrets.randbits(53))
        captions = [caption] + [None] * (len(images) - 1)
        return [
            self.send_photo(chat_id, image, words, media_group_id=group)
            for image, words in zip(images, captions, strict=True)
        ]

    def send_document(
        self,
        chat_id: int,
        data: bytes,
        file_name: str,
        mime_type: str,
        caption: str | None = None,
        reply_to: int | None = None,
        media_group_id: str | None = None,
        user: int | None = None,
    ) -> Json:
        """A file, bytes untouched: also how a photo arrives when sent as a file."""
        stored = self.store(data, "documents", PurePath(file_name).suffix, mime_type, file_name)
        document = {"file_name": file_name, "mime_type": mime_type} | stored
        return self._send_captioned(chat_id, caption, reply_to, media_group_id, user, document=document)

    def send_sticker(self, chat_id: int, data: bytes = b"sticker", user: int | None = None) -> Json:
        """A plain sticker."""
        sticker = {"width": 512, "height": 512, "emoji": "\N{GRINNING FACE}", "type": "regular"}
        sticker |= {"set_name": "Faces", "is_animated": False, "is_video": False}
        sticker |= self.store(data, "stickers", ".webp", "image/webp", "sticker.webp")
        return self.send(chat_id, user=user, sticker=sticker)

    def send_video(
        self,
        chat_id: int,
        data: bytes = b"video",
        caption: str | None = None,
        user: int | None = None,
        duration: int = 5,
    ) -> Json:
        """A video of so many seconds, by its word: the bytes are not looked at."""
        video = {"duration": duration, "width": 640, "height": 360, "mime_type": "video/mp4"}
        video |= self.store(data, "videos", ".mp4", "video/mp4", "video.mp4")
        return self._send_captioned(chat_id, caption, None, None, user, video=video)

    def send_video_note(self, chat_id: int, data: bytes, user: int | None = None, duration: int = 5) -> Json:
        """A video message, likewise."""
        stored = self.store(data, "video_notes", ".mp4", "video/mp4", "note.mp4")
        return self.send(chat_id, user=user, video_note={"duration": duration, "length": 384} | stored)

    def send_animation(
        self,
        chat_id: int,
        data: bytes,
        mime_type: str = "video/mp4",
        user: int | None = None,
        reply_to: int | None = None,
    ) -> Json:
        """A GIF, of which Telegram mostly makes an MP4, likewise; older programs see a document."""
        file = {"file_name": "smile.gif.mp4", "mime_type": mime_type}
        file |= self.store(data, "animations", ".mp4", mime_type, "smile.gif.mp4")
        animation = file | {"width": 512, "height": 512, "duration": 1}
        return self.send(chat_id, user=user, reply_to=reply_to, animation=animation, document=file)

    def send_voice(self, chat_id: int, data: bytes = b"voice", user: int | None = None) -> Json:
        """A voice message, likewise."""
        stored = self.store(data, "voice", ".oga", "audio/ogg", "voice.oga")
        return self.send(chat_id, user=user, voice={"duration": 3, "mime_type": "audio/ogg"} | stored)

    def send_location(self, chat_id: int, latitude: float, longitude: float, user: int | None = None) -> Json:
        """A place, in degrees."""
        return self.send(chat_id, user=user, location={"latitude": latitude, "longitude": longitude})

    def block(self, chat_id: int) -> Json:
        """Block the bot, or remove it from a group; the bot is told by `my_chat_member`."""
        with self.changed:
            self.blocked.add(chat_id)
            return self._change_membership(chat_id, "member", "kicked")

    def unblock(self, chat_id: int) -> Json:
        """Let the bot in again; a user also does so by writing to it."""
        with self.changed:
            self.blocked.discard(chat_id)
            return self._change_membership(chat_id, "kicked", "member")

    def _change_membership(self, chat_id: int, old: str, new: str) -> Json:
        def member(status: str) -> Json:
            return {"user": self.bot, "status": status} | ({"until_date": 0} if status == "kicked" else {})

        changed_by = self.user(chat_id if chat_id > 0 else STRANGER)
        change = {"chat": self.chat(chat_id), "from": changed_by, "date": int(time.time())}
        change |= {"old_chat_member": member(old), "new_chat_member": member(new)}
        return self.queue("my_chat_member", change)

    def _send_captioned(
        self,
        chat_id: int,
        caption: str | None,
        reply_to: int | None,
        media_group_id: str | None,
        user: int | None,
        **content: object,
    ) -> Json:
        words = {"caption": caption, "caption_entities": find_entities(caption or "") or None}
        return self.send(
            chat_id, user=user, reply_to=reply_to, media_group_id=media_group_id, **content, **words
        )
