"""Videos: what `predict` reads and writes, compared with what ffmpeg itself says."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TINY_TRAINER, refinenet
from PIL import Image

from refinenet_pl import load
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.pictures import overlay
from refinenet_pl.video import VideoFile, comment_of, open_video, read_frames

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


def draw(path: Path, filters: str = "null", frames: int = 9, rate: str = "30000/1001") -> Path:
    """Write a lossless test video of 33 x 21 pixels."""
    picture = f"testsrc2=size=34x22:rate={rate},format=gbrp,crop=33:21,{filters}"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-frames:v", str(frames)]
    subprocess.run([*command, "-fps_mode", "vfr", "-c:v", "libx264rgb", "-qp", "0", str(path)], check=True)
    return path


def probe(path: Path) -> dict[str, str]:
    """Return what ffprobe says about the first stream; it decodes all frames."""
    options = ["-count_frames", "-select_streams", "v:0", "-show_streams", "-of", "json"]
    done = subprocess.run(["ffprobe", "-v", "error", *options, str(path)], capture_output=True, check=True)
    stream: dict[str, str] = json.loads(done.stdout)["streams"][0]
    return stream


def decode(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return all frames as ffmpeg decodes them, [N, H, W, 3]."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-fps_mode", "passthrough", "-f", "rawvideo"]
    done = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, *size, 3)


@needs_ffmpeg
@pytest.mark.parametrize("filters", ["null", "select='not(eq(mod(n,3),1))'", "setpts=N*N/TB/30"])
def test_every_frame_is_read_once(tmp_path, filters):
    path = draw(tmp_path / "clip.mkv", filters)
    expected = decode(path, (21, 33))
    frames = np.stack([*read_frames(open_video(path))])
    assert len(frames) >= 6
    np.testing.assert_array_equal(frames, expected)


@needs_ffmpeg
def test_written_video_is_complete_or_absent(tmp_path):
    frames = [np.full((20, 30, 3), 20 * index, np.uint8) for index in range(7)]
    file = VideoFile(tmp_path / "new" / "a.mp4", "25/1", "remember this")
    for frame in frames:
        file.add(frame)
    assert not file.path.exists()
    file.finish()
    assert [path.name for path in file.path.parent.iterdir()] == ["a.mp4"]
    found = probe(file.path)
    assert (found["width"], found["height"], found["nb_read_frames"], found["avg_frame_rate"]) == (30, 20, "7", "25/1")
    np.testing.assert_allclose(decode(file.path, (20, 30)), np.stack(frames), atol=6)
    assert comment_of(file.path) == "remember this"
    assert comment_of(tmp_path / "none.mp4") is None
    stopped = VideoFile(tmp_path / "new" / "b.mp4", "25/1", "")
    stopped.add(frames[0])
    stopped.discard()
    assert [path.name for path in file.path.parent.iterdir()] == ["a.mp4"]


@needs_ffmpeg
@pytest.mark.parametrize(
    "content", [b"", b"no video", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", b"ffconcat version 1.0\nfile real.mkv\n"]
)
def test_other_files_are_no_videos(tmp_path, content):
    draw(tmp_path / "real.mkv")
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.mp4: cannot be read as a video"):
        open_video(tmp_path / "a.mp4")


@needs_ffmpeg
def test_damage_within_a_video_is_told(tmp_path):
    path = draw(tmp_path / "clip.mkv", frames=60)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(byte ^ 0x5A for byte in content[len(content) // 2 :])
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"clip\.mkv: cannot be read as a video"):
        list(read_frames(open_video(path)))


@needs_ffmpeg
def test_videos_are_predicted_frame_by_frame(trained_run, fake_camvid, tmp_path, monkeypatch, capsys):
    clip = draw(tmp_path / "clip.mkv")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    image = fake_camvid / "val" / "val_0.png"
    out = tmp_path / "out"
    command = ["predict", "--ckpt_path", trained_run, *TINY_TRAINER, "--num_workers=0", f"--output={out}"]
    command += ["--video_masks=true", "--images", image, tmp_path / "broken.mp4", clip]
    assert refinenet(monkeypatch, *command) == 1
    printed = capsys.readouterr()
    assert "predicted 2 files" in printed.out
    assert "1 file could not be read; all others are predicted:\n" in printed.err
    assert "broken.mp4: cannot be read as a video" in printed.err
    source, target = probe(clip), probe(out / "overlays" / "clip.mp4")
    assert target["nb_read_frames"] == source["nb_read_frames"] == "9"
    assert target["avg_frame_rate"] == source["avg_frame_rate"] == "30000/1001"
    assert (target["width"], target["height"]) == (34, 22)  # even sides
    segmenter = load(trained_run)
    masks = sorted((out / "masks" / "clip.mkv").iterdir())
    assert [path.name for path in masks] == [f"{index:06}.png" for index in range(9)]
    pairs = zip(decode(clip, (21, 33)), masks, decode(out / "overlays" / "clip.mp4", (22, 34)), strict=True)
    for frame, path, shown in pairs:
        mask = segmenter.predict(frame)
        np.testing.assert_array_equal(np.asarray(Image.open(path)), mask)
        exact = overlay(frame, mask, segmenter.class_colors).astype(float)
        assert np.abs(shown[:21, :33] - exact).mean() < 25  # the colors have half the resolution
    rows = (out / "shares.csv").read_text().splitlines()
    assert len(rows) == 1 + 1 + 9
    assert not (out / "overlays" / "broken.mp4").exists()

    written = (out / "overlays" / "clip.mp4").stat().st_mtime_ns
    assert refinenet(monkeypatch, *command) == 1
    assert "predicted 0 files; skipped 2 files" in capsys.readouterr().out
    assert (out / "overlays" / "clip.mp4").stat().st_mtime_ns == written


def test_missing_ffmpeg_is_named(trained_run, tmp_path, monkeypatch, capsys):
    (tmp_path / "clip.mp4").write_bytes(b"a video")
    monkeypatch.setenv("PATH", str(tmp_path))
    command = ["predict", "--ckpt_path", trained_run, *TINY_TRAINER, f"--output={tmp_path / 'out'}"]
    assert refinenet(monkeypatch, *command, "--images", tmp_path / "clip.mp4") == 2
    error = capsys.readouterr().err
    assert "clip.mp4: videos need the program ffmpeg, which was not found" in error
    assert "apt-get install ffmpeg" in error
    assert not (tmp_path / "out").exists()
