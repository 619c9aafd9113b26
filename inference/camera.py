"""A camera, read like a video file."""

import time
from collections.abc import Callable, Iterator
from math import inf

import cv2
from cv2.utils import logging

from inference.footage import Picture, fitted

GONE = "there is no such camera, or another program uses it"


class Camera:
    """A camera of this machine.

    Attributes:
        seconds: without end.
        width, height: of its frames, pixels.
        sound: none.
    """

    seconds, sound = inf, None

    def __init__(self, number: int) -> None:
        """
        Args:
            number: of the camera, from 0.

        Raises:
            OSError: there is no such camera, or somebody else has it.
        """
        logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # what OpenCV says of a missing camera is no help
        try:
            self._capture = cv2.VideoCapture(number)
        except cv2.error:  # beyond what C counts to
            raise OSError(GONE) from None
        seen, image = self._capture.read()  # it may open and show nothing
        if not seen:
            raise OSError(GONE)
        self.height, self.width = image.shape[:2]

    def frames(self, hear: Callable | None = None) -> Iterator[Picture]:
        """What it sees from now on, until it is unplugged; `hear` is never called."""
        start = time.perf_counter()
        while (read := self._capture.read())[0]:
            image = cv2.resize(read[1], fitted(self.width, self.height), interpolation=cv2.INTER_AREA)
            yield Picture(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), time.perf_counter() - start)
