"""Reads and writes videos with the programs `ffmpeg` and `ffprobe`."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import numpy as np

from refinenet_pl.errors import UserError
from refinenet_pl.files import temporary_path

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})

SAFE = ("-protocol_whitelist", "file", "-format_whitelist", "mov,matroska,avi")
"""Other formats, such as playlists, can name files and addresses that ffmpeg would read."""


class Video(NamedTuple):
    """A video file.

    Attributes:
        path: The file.
        rate: Frames per second, as a fraction such as "30000/1001".
    """

    path: Path
    rate: str


def is_video(path: str | Path) -> bool:
    """Whether a file has the suffix of a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def check_ffmpeg(path: str | Path) -> None:
    """Raise UserError if the programs are missing that read a video."""
    missing = [program for program in ("ffmpeg", "ffprobe") if shutil.which(program) is None]
    if missing:
        raise UserError(
            f"{path}: videos need the program {missing[0]}, which was not found. Install it (`apt-get install ffmpeg`, "
            "`conda install ffmpeg` or `brew install ffmpeg`), or give images instead."
        )


def open_video(path: str | Path) -> Video:
    """Return a video file after a look at its first stream; raise UserError if it is no video that can be read."""
    entries = _probe(path, "stream=codec_type,avg_frame_rate,r_frame_rate", "-select_streams", "v:0")
    streams = entries.get("streams") or [{}]
    rates = [str(streams[0].get(key, "0/0")) for key in ("avg_frame_rate", "r_frame_rate")]
    rate = next((rate for rate in rates if not rate.startswith("0/")), None)
    if rate is None:
        raise UserError(f"{path}: cannot be read as a video: it has no frames")
    return Video(Path(path), rate)


def comment_of(path: str | Path) -> str | None:
    """Return the comment in a video file that `VideoFile` has written; None if there is none."""
    if not Path(path).is_file():
        return None
    try:
        tags = _probe(path, "format_tags=comment").get("format", {}).get("tags", {})
    except UserError:
        return None
    comment = tags.get("comment")
    return None if comment is None else str(comment)


def read_frames(video: Video) -> Iterator[np.ndarray]:
    """Yield the frames of a video, uint8 [H, W, 3] each, upright.

    Raises:
        UserError: The video is damaged. Frames before the damage have been yielded.
    """
    # New times at the average rate: else frames of uneven times would be dropped or repeated.
    times = f"setpts=N/({video.rate})/TB"
    source = [*SAFE, "-i", _file(video.path), "-map", "0:v:0"]
    command = ["ffmpeg", "-v", "error", "-nostdin", "-xerror", *source, "-vf", times, "-r", video.rate]
    with _started([*command, "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"], stdout=subprocess.PIPE) as (
        process,
        errors,
    ):
        assert process.stdout is not None
        while (frame := _read_ppm(process.stdout)) is not None:
            yield frame
        if process.wait():
            raise UserError(f"{video.path}: cannot be read as a video: {_last_line(errors)}")


class VideoFile:
    """An mp4 file that is written frame by frame.

    Args:
        path: The file. It exists only after `finish`. Its folder is created.
        rate: Frames per second, as a fraction.
        comment: Text that is kept in the file.
    """

    def __init__(self, path: Path, rate: str, comment: str) -> None:
        self.path, self.temporary, self.rate, self.comment = path, temporary_path(path), rate, comment
        self.process: subprocess.Popen[bytes] | None = None
        self.errors: IO[bytes] = TemporaryFile()  # noqa: SIM115  (it is closed with the process)

    def add(self, frame: np.ndarray) -> None:
        """Append a frame, uint8 [H, W, 3]. All frames have one size.

        Raises:
            UserError: The program failed, for example because the disk is full.
        """
        process = self.process or self._start(*frame.shape[:2])
        assert process.stdin is not None
        try:
            process.stdin.write(np.ascontiguousarray(frame).tobytes())
        except BrokenPipeError as error:
            process.wait()
            raise self._failure() from error

    def finish(self) -> None:
        """Complete the file. Raises UserError if the program failed."""
        assert self.process is not None
        self.process.communicate()
        if self.process.returncode:
            raise self._failure()
        self.temporary.replace(self.path)
        self.errors.close()

    def discard(self) -> None:
        """Stop, and leave no file."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        self.errors.close()
        self.temporary.unlink(missing_ok=True)

    def _start(self, height: int, width: int) -> subprocess.Popen[bytes]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", self.rate, "-i", "-"]
        # Players expect colors at half the resolution, which needs even sides.
        filters = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-q:v", "3"]
        target = ["-metadata", f"comment={self.comment}", "-f", "mp4", _file(self.temporary)]
        command = ["ffmpeg", "-v", "error", "-y", *source, *filters, *target]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.errors, start_new_session=True
        )
        return self.process

    def _failure(self) -> UserError:
        return UserError(f"{self.path}: ffmpeg could not write it: {_last_line(self.errors)}")


@contextmanager
def _started(command: list[str], **options: Any) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Start a process, and end it with the block. Ctrl-C in a terminal does not reach it."""
    with TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=errors, start_new_session=True, **options)
        try:
            yield process, errors
        finally:
            process.kill()
            process.communicate()


def _probe(path: str | Path, entries: str, *options: str) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", *SAFE, *options, "-show_entries", entries, "-of", "json", _file(path)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise UserError(f"{path}: cannot be read as a video: {lines[-1]}")
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def _read_ppm(stream: IO[bytes]) -> np.ndarray | None:
    """Return the next image of a stream of binary PPM images; None at its end, or if the image is cut off."""
    header = [stream.readline() for _ in range(3)]  # P6, width and height, largest value
    if not header[2]:
        return None
    width, height = map(int, header[1].split())
    pixels = stream.read(width * height * 3)
    if len(pixels) < width * height * 3:
        return None
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _file(path: str | Path) -> str:
    """Return a path as ffmpeg takes it, whatever letters it begins with."""
    return f"file:{path}"


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    return (errors.read().decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
