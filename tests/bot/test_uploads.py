import asyncio

import pytest

from bot import uploads
from bot.uploads import PLACES, PLACES_AN_ADDRESS, Full, Uploads
from inference.errors import MAX_BYTES

SMALL = MAX_BYTES // 2


def test_places_are_few_and_fewer_for_one_address():
    room = Uploads()
    with room.place("a", SMALL), room.place("a", SMALL), room.place("b", SMALL):
        with pytest.raises(Full), room.place("a", SMALL):
            pass
        with room.place("b", SMALL), pytest.raises(Full), room.place("c", SMALL):
            pass
        with room.place("c", SMALL):
            pass
    assert (PLACES, PLACES_AN_ADDRESS) == (4, 2)


def test_a_large_photo_takes_up_two_places():
    room = Uploads()
    with room.place("a", MAX_BYTES):
        with pytest.raises(Full), room.place("a", 1):
            pass
        with room.place("b", SMALL + 1), pytest.raises(Full), room.place("c", 1):
            pass


@pytest.mark.parametrize("long", [True, False])
def test_who_has_sent_for_long_makes_room_for_others(monkeypatch, long):
    """But not for another of their own."""
    monkeypatch.setattr(uploads, "HURRIED_SECONDS", 0 if long else 2)
    monkeypatch.setattr(uploads, "SECONDS", 2)

    async def send(room: Uploads, address: str) -> float:
        start = asyncio.get_running_loop().time()
        with room.place(address, SMALL):
            try:
                async with room.coming():
                    await asyncio.sleep(60)
            except TimeoutError:
                return asyncio.get_running_loop().time() - start

    async def scenario() -> list[float]:
        room = Uploads()
        sending = [asyncio.create_task(send(room, address)) for address in "aabb"]
        await asyncio.sleep(0.1)
        with pytest.raises(Full), room.place("a", SMALL):
            pass
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in sending)
        with pytest.raises(Full), room.place("c", SMALL):
            pass
        return await asyncio.gather(*sending)

    first, *others = asyncio.run(scenario())
    assert (first < 1.5) == long
    assert all(seconds >= 2 for seconds in others)
