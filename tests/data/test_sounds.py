"""Sounds: encodings, files, and data sets of them."""

import json
import wave

import mido
import numpy as np
import pytest

from genjax import data


def write_wav(path, samples, rate=8000, width=2, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(np.asarray(samples, f"<i{width}" if width > 1 else np.uint8).tobytes())


def test_wav(tmp_path):
    write_wav(tmp_path / "one.wav", [0, 16384, -32768, 32767, 5, 6, 7])
    one = data.wav(tmp_path / "one.wav", length=2, validation=1)
    np.testing.assert_array_equal(one.splits["train"].arrays["x"], [[0, 0.5], [-1, 32767 / 32768]])
    np.testing.assert_array_equal(one.splits["validation"].arrays["x"] * 32768, [[5, 6]])
    write_wav(tmp_path / "digits" / "zero" / "a.wav", np.arange(7))
    write_wav(tmp_path / "digits" / "one" / "b.wav", [[2, 4], [10, 20]], channels=2)
    folder = data.load(tmp_path / "digits", length=3)
    train = folder.splits["train"].arrays
    np.testing.assert_array_equal(train["x"] * 32768, [[3, 15, 0], [0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(train["label"], [0, 1, 1])
    assert folder.num_classes == 2


def test_bad_wav(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(9))
    write_wav(tmp_path / "b.wav", np.zeros(9), rate=16000)
    with pytest.raises(ValueError, match=r"b\.wav has 16000 samples per second, but .*a\.wav has 8000"):
        data.wav(tmp_path, length=3)
    write_wav(tmp_path / "eight.wav", np.zeros(9), width=1)
    with pytest.raises(ValueError, match=r"eight\.wav has 8-bit samples; convert it to 16-bit PCM"):
        data.wav(tmp_path / "eight.wav", length=3)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"cannot read .*broken\.wav"):
        data.wav(tmp_path / "broken.wav", length=3)
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:-6])
    with pytest.raises(ValueError, match=r"cut\.wav has 56 bytes, but 62 by its header; it was cut off"):
        data.wav(tmp_path / "cut.wav", length=3)
    (tmp_path / "stream.wav").write_bytes(whole[:4] + b"\xff" * 4 + whole[8:])
    assert len(data.wav(tmp_path / "stream.wav", length=3).splits["train"]) == 3
    with pytest.raises(ValueError, match="length is 0"):
        data.wav(tmp_path / "a.wav", length=0)


@pytest.mark.parametrize("levels", [2, 17, 256, 65536])
@pytest.mark.parametrize("encoding", ["mu_law", "linear"])
def test_codes_are_those_of_the_middles_that_they_decode_to(encoding, levels):
    sound = data.Waveform(8000, encoding, levels)
    codes = np.arange(levels)
    samples = sound.decode(codes)
    assert (np.diff(samples) > 0).all() and samples[0] > -1 and samples[-1] < 1
    np.testing.assert_allclose(samples, -samples[::-1], atol=1e-12)
    np.testing.assert_array_equal(sound.encode(samples), codes)


def test_mu_law_is_that_of_the_paper():
    samples = np.random.default_rng(0).uniform(-1, 1, 1000)
    companded = np.sign(samples) * np.log(1 + 255 * np.abs(samples)) / np.log(256)
    sound = data.Waveform(8000, "mu_law")
    codes = sound.encode(samples)
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, ((companded + 1) * 128).astype(int))
    ends = np.abs(sound.decode(codes))
    assert (
        np.abs(sound.decode(codes) - samples) <= 1 / 256 * np.log(256) * (1.03 * ends + 1 / 255)
    ).all()  # half a bin


def test_sixteen_bits_are_lossless(tmp_path):
    pcm = np.arange(-(2**15), 2**15)
    write_wav(tmp_path / "in.wav", pcm)
    dataset = data.wav(tmp_path / "in.wav", length=2**16, encoding="linear")
    (x,) = dataset.splits["train"].arrays["x"]
    assert (dataset.levels, x.dtype, dataset.sound.sample_rate) == (65536, np.int32, 8000)
    np.testing.assert_array_equal(x, pcm + 2**15)
    for sound, written in ((dataset.sound, x), (data.Waveform(8000), pcm / 2**15)):
        sound.save(tmp_path / "out.wav", written)
        assert (tmp_path / "out.wav").read_bytes() == (tmp_path / "in.wav").read_bytes()


def test_oscillograms_reach_from_least_to_greatest():
    (picture,) = data.Waveform(8000).draw(np.array([[0.0, 0.0, 1.0, -1.0]]))[..., 0]
    assert picture.shape == (48, 4) and picture.dtype == np.uint8
    assert [column.nonzero()[0].tolist() for column in picture.T] == [[23, 24], [23, 24], [0, 1], [47]]
    assert data.Waveform(8000, "mu_law").draw(np.zeros((2, 1000), np.uint8)).shape == (2, 48, 128, 1)


def test_a_wav_of_the_extensible_format_is_read(tmp_path):
    """Recorders write 16-bit PCM under format 65534, too."""
    write_wav(tmp_path / "plain.wav", np.arange(6))
    head, samples = (tmp_path / "plain.wav").read_bytes()[20:36], np.arange(6, dtype="<i2").tobytes()
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    extension = (22).to_bytes(2, "little") + (16).to_bytes(2, "little") + bytes(4) + guid
    body = b"fmt " + (40).to_bytes(4, "little") + b"\xfe\xff" + head[2:] + extension
    body += b"data" + len(samples).to_bytes(4, "little") + samples
    (tmp_path / "extensible.wav").write_bytes(b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WAVE" + body)
    x = data.wav(tmp_path / "extensible.wav", length=3).splits["train"].arrays["x"]
    np.testing.assert_array_equal(x * 2**15, np.arange(6).reshape(2, 3))
    write_wav(tmp_path / "empty.wav", [])
    with pytest.raises(ValueError, match=r"empty\.wav has no samples; remove it"):
        data.wav(tmp_path / "empty.wav", length=3)


def test_bad_waveforms():
    with pytest.raises(ValueError, match="encoding is 'alaw', but must be 'float', 'mu_law' or 'linear'"):
        data.Waveform(8000, "alaw")
    with pytest.raises(ValueError, match=r"levels is 256, but must be .* None for 'float'; encoding is 'float'"):
        data.Waveform(8000, levels=256)
    with pytest.raises(ValueError, match=r"levels is 1, but must be in 2 … 65536 .* encoding is 'mu_law'"):
        data.Waveform(8000, "mu_law", 1)
    with pytest.raises(ValueError, match="sample_rate is 0"):
        data.Waveform(0)


CLIPS = {"sample_rate": 4, "length": 2}


def write_clips(path, **entries):
    clips = {"audio": np.arange(8, dtype=np.int16), "length": np.array([3, 1, 4])}
    np.savez(path, **clips | {"digit": np.array([0, 1, 1], np.uint8), "speaker": np.array([2, 0, 1])} | entries)
    return path


def test_clips(tmp_path):
    path = write_clips(tmp_path / "clips.npz")
    dataset = data.load(f"clips:{path}", label=("digit", "speaker"), **CLIPS)
    train = dataset.splits["train"].arrays
    np.testing.assert_array_equal(train["x"] * 2**15, [[0, 1], [3, 0], [4, 5], [6, 7]])
    np.testing.assert_array_equal(train["label"], [2, 3, 4, 4])
    assert dataset.num_classes == 6
    starts = data.clips(path, label="digit", first_window_only=True, test=1, **CLIPS)
    np.testing.assert_array_equal(starts.splits["train"].arrays["x"] * 2**15, [[0, 1], [4, 5]])
    np.testing.assert_array_equal(starts.splits["test"].arrays["label"], [1])
    assert data.clips(path, **CLIPS).num_classes is None


def test_clips_are_decimated_after_a_low_pass_filter(tmp_path):
    """A tone below half the new rate stays, one above it vanishes instead of folding back."""
    time = np.arange(400) / 8_000
    for frequency, remains in ((500, 1.0), (3_500, 0.0)):
        tone = 0.5 * np.sin(2 * np.pi * frequency * time)
        path = write_clips(tmp_path / "tone.npz", audio=np.int16(2**15 * tone), length=np.array([400]))
        dataset = data.clips(path, sample_rate=8_000, length=200, decimation=2)
        assert dataset.sound == data.Waveform(4_000)
        x = dataset.splits["train"].take(np.arange(1))["x"][0]
        np.testing.assert_allclose(x[20:-20], remains * tone[::2][20:-20], atol=0.01)
    with pytest.raises(ValueError, match="sample_rate=8000 is not a multiple of decimation=3"):
        data.clips(path, sample_rate=8_000, length=10, decimation=3)


def test_bad_clips(tmp_path):
    path = write_clips(tmp_path / "clips.npz", digit=np.array([0, -1, 1]), short=np.array([1]))
    with pytest.raises(ValueError, match=r"holds .*'audio'.*, but not \['accent'\]"):
        data.clips(path, label="accent", **CLIPS)
    for label in ("digit", "short", "audio"):
        with pytest.raises(ValueError, match=rf"{label} of .*must be non-negative integers of shape \(3,\)"):
            data.clips(path, label=label, **CLIPS)
    with pytest.raises(ValueError, match=r"audio of .* is int16\[8\], .* the sum of length, 7"):
        data.clips(write_clips(tmp_path / "wrong.npz", length=np.array([3, 4])), **CLIPS)
    with pytest.raises(ValueError, match=r"digit of .* holds 1 … 2, but classes count from 0; subtract 1"):
        data.clips(write_clips(tmp_path / "one.npz", digit=np.array([1, 2, 2], np.uint8)), label="digit", **CLIPS)
    with pytest.raises(ValueError, match=r"length of .* is int64\[3\], but must be integers above 0"):
        data.clips(write_clips(tmp_path / "silent.npz", length=np.array([4, 0, 4])), **CLIPS)
    (tmp_path / "broken.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="not a readable"):
        data.clips(tmp_path / "broken.npz", **CLIPS)
    with pytest.raises(FileNotFoundError, match="no file"):
        data.clips(tmp_path / "none.npz", **CLIPS)


PIECES = {"train": [[[60, 64], [62]], [[67, 60]]], "valid": [[[60]]], "test": [[[], [64, 64]]]}


def write_pieces(path, pieces):
    path.write_text(json.dumps(pieces))
    return path


def test_chorales(tmp_path):
    dataset = data.load(f"chorales:{write_pieces(tmp_path / 'pieces.json', PIECES)}", length=2, num_voices=2)
    voices = dataset.sound
    assert voices == data.Voices(2, 60, 9) and dataset.levels == 9
    np.testing.assert_array_equal(dataset.splits["train"].arrays["x"], [[5, 1, 3, 0], [0, 0, 8, 1]])
    np.testing.assert_array_equal(dataset.splits["validation"].arrays["x"], [[1, 0, 0, 0]])
    np.testing.assert_array_equal(voices.pitches(np.array([0, 0, 5, 5, 1])), [[-1, -1], [64, 64]])
    everywhere = data.chorales(tmp_path / "pieces.json", length=2, stride=1, all_keys=True, num_voices=2)
    x = everywhere.splits["train"].arrays["x"]
    assert everywhere.sound == data.Voices(2, 54, 20) and len(x) == 12 * 5 - 1
    pitches = [everywhere.sound.pitches(row).tolist() for row in x[::5]]
    assert pitches == [[[64 + key, 60 + key], [62 + key, -1]] for key in range(-6, 6)]
    np.testing.assert_array_equal(everywhere.splits["validation"].arrays["x"], [[7, 0, 0, 0]])


def test_chorales_as_midi(tmp_path):
    voices = data.Voices(2, 60, 9)
    voices.save(tmp_path / "piece.mid", np.array([1, 5, 1, 0, 0, 6, 2, 6]))
    tracks = mido.MidiFile(tmp_path / "piece.mid").tracks
    notes = []
    for track in tracks:
        now, started = 0, {}
        for message in track:
            now += message.time
            if message.type == "note_on":
                started[message.note] = now
            elif message.type == "note_off":
                notes.append((message.channel, message.note, started.pop(message.note) // 120, now // 120))
    assert notes == [(0, 60, 0, 2), (0, 61, 3, 4), (1, 64, 0, 1), (1, 65, 2, 4)]
    assert mido.MidiFile(tmp_path / "piece.mid").length == pytest.approx(60 / 80)  # four sixteenths are a beat
    (roll,) = voices.draw(np.array([[1, 5, 1, 0, 0, 6, 2, 6]]))[..., 0]
    assert np.argwhere(roll == 255).tolist() == [[6, 3], [7, 0], [7, 1]]
    assert np.argwhere(roll == 215).tolist() == [[2, 2], [2, 3], [3, 0]]


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([1], "must hold splits"),
        ({"train": [[[60, "C"]]]}, r"holds the pitches \['C'\]"),
        ({"train": [[[128]]]}, r"holds the pitches \[128\]"),
        ({"train": [[[1, 2, 3]]]}, "a step of .* has 3 notes, but num_voices is 2"),
        ({"train": []}, "holds the pitches"),
        ({"train": [[[60]]]}, "length is 6, but train of .* has 4 tokens"),
    ],
)
def test_bad_chorales(tmp_path, pieces, message):
    with pytest.raises(ValueError, match=message):
        data.chorales(write_pieces(tmp_path / "pieces.json", pieces), length=3, num_voices=2)
