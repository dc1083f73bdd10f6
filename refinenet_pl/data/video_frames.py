"""The frames of a video, for prediction."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from refinenet_pl.data.sampling import world_and_rank
from refinenet_pl.errors import UserError
from refinenet_pl.files import file_digest
from refinenet_pl.prediction_folder import PredictionFolder
from refinenet_pl.video import check_ffmpeg, open_video, read_frames


class VideoFrames(torch.utils.data.IterableDataset[dict[str, Any]]):
    """Reads the frames of a video, in order. One device predicts all frames of a video.

    A sample is {"image": uint8 [3, H, W], "name": str, "video": str, "rate": str, "source": str, "last": bool}: the
    frame's and the video's name, frames per second, the SHA-256 of the file, and whether it is the last frame. A video
    that cannot be read ends with {"error": str, "name": str}. One that is predicted already is {"finished": True,
    "name": str}.

    Args:
        path: The file.
        index: Number of the video, which chooses the device.
        folder: Where earlier predictions are. None: there are none.

    Raises:
        UserError: There is no such file, or the program is missing that reads it.
    """

    def __init__(self, path: Path, index: int = 0, folder: PredictionFolder | None = None) -> None:
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        check_ffmpeg(path)
        self.path, self.index, self.folder = path, index, folder
        self.name = path.stem

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the frames; nothing on the other devices."""
        world, rank = world_and_rank()
        if self.index % world != rank:
            return
        try:
            source = file_digest(self.path)
            if self.folder is not None and self.folder.has_video(self.name, source):
                yield {"finished": True, "name": self.name}
                return
            yield from self._frames(source)
        except UserError as error:
            yield {"error": str(error), "name": self.name}

    def _frames(self, source: str) -> Iterator[dict[str, Any]]:
        video = open_video(self.path)
        frames = read_frames(video)
        frame, index = next(frames, None), 0
        if frame is None:
            raise UserError(f"{self.path}: cannot be read as a video: it has no frames")
        while frame is not None:
            following = next(frames, None)
            yield {
                "image": torch.tensor(frame).permute(2, 0, 1).contiguous(),
                "name": f"{self.path.name}/{index:06}",
                "video": self.name,
                "rate": video.rate,
                "source": source,
                "last": following is None,
            }
            frame, index = following, index + 1
