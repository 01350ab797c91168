"""Videos are read upright and at their times, and what is broken in them is told."""

import sys
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from fcos.errors import ConfigError, DataError
from fcos.prediction.video import VideoReader, VideoWriter, check_pyav

RED, BLUE = (200, 0, 0), (0, 0, 200)


def write_video(path: Path, size: tuple[int, int] = (65, 48), frames: int = 6) -> Path:
    """Write frames whose left half is red and right half blue, 10 a second."""
    with VideoWriter(path, Fraction(10)) as writer:
        for index in range(frames):
            picture = Image.new("RGB", size, RED)
            picture.paste(BLUE, (size[0] // 2, 0, *size))
            writer.write(picture, index / 10)
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    reader = VideoReader(write_video(tmp_path / "a.mp4"))
    frames = list(reader)
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.seconds for frame in frames] == pytest.approx([index / 10 for index in range(6)])
    assert reader.num_frames == 6 and reader.num_broken == 0 and reader.rate == 10
    pixels = frames[3].pixels
    assert pixels.shape == (3, 48, 64)
    assert pixels[0, 24, 10] > 150 > 50 > pixels[2, 24, 10] and pixels[2, 24, 50] > 150 > 50 > pixels[0, 24, 50]
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_video_that_was_held_upright_is_read_upright(tmp_path: Path) -> None:
    import av

    with av.open(str(write_video(tmp_path / "a.mp4"))) as source, av.open(str(tmp_path / "b.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        # Shown a quarter turn clockwise, which FFmpeg stores as -90 degrees.
        stream.set_display_rotation(-90)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    frame = next(iter(VideoReader(tmp_path / "b.mp4")))
    assert frame.pixels.shape == (3, 64, 48)
    # What was left is up.
    assert frame.pixels[0, 10, 24] > 150 and frame.pixels[2, 50, 24] > 150


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"a\.mp4: is not a video that can be read"):
        VideoReader(tmp_path / "a.mp4")


def test_broken_packets_are_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", (320, 240), frames=30)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 1200
    content[start : start + 200] = bytes(200)
    path.write_bytes(content)
    reader = VideoReader(path)
    try:
        number = len(list(reader))
    except DataError:
        number = 0
    assert number < 30 or reader.num_broken > 0


def test_an_interrupted_video_is_whole_up_to_there(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", Fraction(10)) as writer:
        writer.write(Image.new("RGB", (64, 48)), 0.0)
        writer.write(Image.new("RGB", (64, 48)), 0.1)
        raise KeyboardInterrupt
    assert len(list(VideoReader(tmp_path / "a.mp4"))) == 2


def test_a_video_without_a_frame_leaves_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", Fraction(10)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_pyav(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"a\.mp4: reading videos needs PyAV: pip install 'fcos-lab\[video\]'"):
        check_pyav(tmp_path / "a.mp4")
