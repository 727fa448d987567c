"""Arrays and files: data are read as written, and errors name the file."""

import contextlib
import gzip
import tracemalloc
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax import data
from genjax.data import images


def sizes(dataset):
    return {name: len(source) for name, source in dataset.splits.items()}


def test_digits():
    digits = data.digits()
    assert sizes(digits) == {"train": 1257, "validation": 180, "test": 360}
    assert digits.spec()["x"].shape == (8, 8, 1)
    assert digits.spec()["x"].dtype == np.uint8
    assert (digits.levels, digits.num_classes) == (17, 10)
    from sklearn.datasets import load_digits

    x, label = load_digits(return_X_y=True)
    rows = np.concatenate([x.reshape(-1, 64), label[:, None]], axis=1)
    result = [
        np.concatenate([s.arrays["x"].reshape(-1, 64), s.arrays["label"][:, None]], axis=1)
        for s in digits.splits.values()
    ]
    # The three splits together are the original images with their labels, each once.
    assert sorted(map(tuple, np.concatenate(result))) == sorted(map(tuple, rows))
    for source in digits.splits.values():
        shares = np.bincount(source.arrays["label"]) / len(source)
        np.testing.assert_allclose(shares, np.bincount(label) / 1797, atol=0.006)


@pytest.mark.parametrize("size", [16, 32])
def test_digits_are_enlarged_bilinearly(size):
    small, large = data.digits(), data.load(f"digits_{size}")
    assert (large.name, large.levels, large.num_classes) == (f"digits_{size}", 256, 10)
    assert sizes(large) == sizes(small)
    rows = np.arange(5)
    x = small.splits["test"].take(rows)["x"]
    expected = jax.image.resize(x * (255.0 / 16), (5, size, size, 1), "bilinear")
    np.testing.assert_array_equal(large.splits["test"].take(rows)["x"], jnp.round(expected))
    np.testing.assert_array_equal(large.splits["test"].arrays["label"], small.splits["test"].arrays["label"])


@pytest.mark.parametrize(
    ("name", "num_examples", "num_features", "num_classes"),
    [("iris", 150, 4, 3), ("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2), ("diabetes", 442, 10, None)],
)
def test_bundled(name, num_examples, num_features, num_classes):
    table = data.bundled(name)
    assert sum(sizes(table).values()) == num_examples
    assert table.num_classes == num_classes
    x = table.splits["train"].arrays["x"]
    assert x.shape[1:] == (num_features,)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-5)
    assert abs(table.splits["test"].arrays["x"].mean(axis=0)).max() > 1e-3  # not its own statistics


def test_arrays():
    x = np.arange(20 * 4 * 5).reshape(20, 4, 5).astype(np.uint8)
    dataset = data.arrays(x, label=np.arange(20) % 3, validation=0.2, test=3, name="toy")
    assert sizes(dataset) == {"train": 13, "validation": 4, "test": 3}
    assert (dataset.name, dataset.levels, dataset.num_classes) == ("toy", 256, 3)
    np.testing.assert_array_equal(dataset.splits["validation"].arrays["x"][..., 0], x[13:17])
    np.testing.assert_array_equal(dataset.splits["test"].arrays["label"], [2, 0, 1])
    continuous = data.arrays(np.zeros((5, 3)))
    assert (continuous.levels, continuous.num_classes, sizes(continuous)) == (None, None, {"train": 5})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 10}, r"take 10 \+ 0 of 10 examples; leave some for train"),
        ({"validation": 0.5, "test": 0.5}, r"take 5 \+ 5 of 10"),
        ({"test": -1}, "test is -1"),
        ({"validation": 1.5}, "validation is 1.5"),
        ({"label": np.zeros(9, int)}, "'x': 10, 'label': 9"),
    ],
)
def test_bad_sizes(settings, message):
    with pytest.raises(ValueError, match=message):
        data.arrays(np.zeros((10, 2)), **settings)


def test_npz_and_npy(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(10, 3)), np.arange(10) % 2
    np.savez(tmp_path / "plain.npz", x=x, y=y)
    np.savez(tmp_path / "divided.npz", x_train=x, y_train=y, x_val=x[:4], y_val=y[:4], x_test=x[:2], y_test=y[:2])
    np.savez(tmp_path / "other.npz", images=x, digit=y)
    np.save(tmp_path / "array.npy", x)
    plain = data.npz(tmp_path / "plain.npz", validation=3)
    assert (plain.name, plain.num_classes, sizes(plain)) == ("plain", 2, {"train": 7, "validation": 3})
    np.testing.assert_array_equal(plain.splits["validation"].arrays["x"], x[7:].astype(np.float32))
    divided = data.load(tmp_path / "divided.npz")
    assert sizes(divided) == {"train": 10, "validation": 4, "test": 2}
    np.testing.assert_array_equal(divided.splits["test"].arrays["label"], [0, 1])
    other = data.npz(tmp_path / "other.npz", x="images", label="digit")
    np.testing.assert_array_equal(other.splits["train"].arrays["label"], y)
    np.testing.assert_array_equal(data.npy(tmp_path / "array.npy").splits["train"].arrays["x"], x.astype(np.float32))
    with pytest.raises(ValueError, match=r"already has the splits .*; leave validation and test out"):
        data.npz(tmp_path / "divided.npz", validation=2)
    with pytest.raises(ValueError, match=r"holds \['digit', 'images'\], but neither 'x' nor 'x_train'"):
        data.npz(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"holds \['digit', 'images'\], but not 'class'"):
        data.npz(tmp_path / "other.npz", x="images", label="class")


def test_entries_of_an_npz_are_all_read_or_refused(tmp_path):
    x, y = np.arange(6.0)[:, None], np.arange(6) % 2
    np.savez(tmp_path / "beside.npz", x=x, y=y, x_Test=x[:2], y_Test=y[:2])
    assert sizes(data.npz(tmp_path / "beside.npz")) == {"train": 6, "test": 2}
    for entries, message in {
        ("x", "x_train"): "holds 'x' and 'x_train', but needs one of them; rename the other",
        ("x_train", "x_val", "x_valid"): "'val' and 'valid' both mean the validation split",
        ("x_val",): r"have \['val'\], but not 'train'",
    }.items():
        np.savez(tmp_path / "wrong.npz", **dict.fromkeys(entries, x))
        with pytest.raises(ValueError, match=message):
            data.npz(tmp_path / "wrong.npz")
    with pytest.raises(ValueError, match=r"label holds 1 … 2, but classes count from 0; subtract 1, or renumber them"):
        data.arrays(x, label=y + 1)


def test_headers_of_terabytes_and_damaged_archives_are_refused(tmp_path):
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
    with (tmp_path / "huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(64))
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.write(tmp_path / "huge.npy", "x.npy")
    for name, message in {
        "huge.npy": "huge.npy holds no plain array",
        "huge.npz": "'x' of .* is no plain array",
    }.items():
        with pytest.raises(ValueError, match=message):
            data.load(tmp_path / name)
    np.savez_compressed(tmp_path / "whole.npz", x=np.arange(200.0), label=np.zeros(200, int))
    whole = (tmp_path / "whole.npz").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        (tmp_path / "damaged.npz").write_bytes(damaged)
        with contextlib.suppress(ValueError):
            data.npz(tmp_path / "damaged.npz")


def test_no_pickle_is_read(tmp_path):
    objects = np.array([{"a": 1}, None], dtype=object)
    np.savez(tmp_path / "objects.npz", x=objects)
    np.save(tmp_path / "objects.npy", objects)
    with pytest.raises(ValueError, match=r"'x' of .*objects\.npz is no plain array .*; save it as numbers"):
        data.npz(tmp_path / "objects.npz")
    with pytest.raises(ValueError, match=r"objects\.npy holds no plain array"):
        data.npy(tmp_path / "objects.npy")


def test_broken_array_files(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    np.savez(tmp_path / "whole.npz", x=np.zeros(1000))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:3000])
    for name, message in {
        "array.npz": r"array\.npz is not a readable \.npz file",
        "broken.npy": r"broken\.npy holds no plain array",
        "cut.npz": r"cut\.npz is not a readable \.npz file",
    }.items():
        with pytest.raises(ValueError, match=message):
            data.load(tmp_path / name)
    for name in ("missing.npz", "missing.npy", "missing.txt", "missing.wav"):
        settings = {"length": 4} if name.endswith("wav") else {}
        with pytest.raises(FileNotFoundError, match=f"no file .*{name}; check the path"):
            data.load(tmp_path / name, **settings)


@pytest.fixture
def image_folder(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 8, 3)).astype(np.uint8)
    for i, image in enumerate(x):
        folder = tmp_path / "pets" / ("cat" if i < 10 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:02}.png")
    return tmp_path / "pets", x


def test_image_folder(image_folder):
    path, x = image_folder
    pets = data.image_folder(path, validation=0.2, test=2)
    assert sizes(pets) == {"train": 14, "validation": 4, "test": 2}
    assert (pets.name, pets.levels, pets.num_classes) == ("pets", 256, 2)
    images = np.concatenate([source.arrays["x"] for source in pets.splits.values()])
    assert sorted(map(bytes, images)) == sorted(map(bytes, x))
    for name in ("validation", "test"):  # both classes, although the files are sorted by class
        np.testing.assert_array_equal(np.bincount(pets.splits[name].arrays["label"]), [sizes(pets)[name] / 2] * 2)
    whole = data.load(path).splits["train"]
    np.testing.assert_array_equal(whole.arrays["x"], x)
    np.testing.assert_array_equal(whole.arrays["label"], [0] * 10 + [1] * 10)


def test_big_image_folders_are_streamed(image_folder, monkeypatch):
    path, x = image_folder
    monkeypatch.setattr(images, "SMALL_BYTES", 100)
    source = data.image_folder(path).splits["train"]
    assert not source.resident
    np.testing.assert_array_equal(source.take(np.array([3, 12]))["x"], x[[3, 12]])
    np.testing.assert_array_equal(source.take(np.array([3, 12]))["label"], [0, 1])


def test_image_sizes_and_channels(image_folder):
    path, _ = image_folder
    grey = data.image_folder(path, size=(3, 3), channels=1)
    assert grey.spec()["x"].shape == (3, 3, 1)
    Image.new("RGB", (5, 5), (10, 20, 30)).save(path / "cat" / "99.png")
    with pytest.raises(ValueError, match=r"99\.png has size \(5, 5\), but .*00\.png has \(6, 8\); use size="):
        data.image_folder(path)
    resized = data.image_folder(path, size=(4, 4)).splits["train"].arrays["x"]
    np.testing.assert_array_equal(resized[10], np.broadcast_to([10, 20, 30], (4, 4, 3)))


def test_divided_image_folder(image_folder, tmp_path):
    path, _ = image_folder
    (tmp_path / "divided").mkdir()
    path.rename(tmp_path / "divided" / "train")
    (tmp_path / "divided" / "val" / "cat").mkdir(parents=True)
    (tmp_path / "divided" / "train" / "cat" / "03.png").rename(tmp_path / "divided" / "val" / "cat" / "03.png")
    with pytest.raises(ValueError, match=r"'validation' of .* has classes \['cat'\], but 'train' has"):
        data.image_folder(tmp_path / "divided")
    (tmp_path / "divided" / "val" / "dog").mkdir()
    (tmp_path / "divided" / "train" / "dog" / "15.png").rename(tmp_path / "divided" / "val" / "dog" / "15.png")
    assert sizes(data.image_folder(tmp_path / "divided")) == {"train": 18, "validation": 2}


def test_bad_image_folders(image_folder, tmp_path):
    path, _ = image_folder
    (path / "dog" / "99.png").write_bytes((path / "dog" / "15.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cannot read the image .*dog/99\.png .*; repair or remove it"):
        data.image_folder(path)
    (path / "dog" / "99.png").rename(path / "loose.png")
    with pytest.raises(ValueError, match=r"loose\.png lies beside the classes"):
        data.image_folder(path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        data.image_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no \.png or .* files in .*empty"):
        data.image_folder(tmp_path / "empty")
    with pytest.raises(ValueError, match="channels is 2"):
        data.image_folder(path, channels=2)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("mode", Image.MODES)
def test_every_mode_of_an_image_is_read_right_or_refused_by_name(mode, channels):
    """Red, half green and all transparent, as far as a mode has them, are what they are on white."""
    rgba = np.array([[[255, 0, 0, 255], [0, 255, 0, 127], [0, 0, 0, 0]]], np.uint8)
    if mode in ("I", "F", "LAB"):
        with pytest.raises(ValueError, match=f"mode '{mode}', .* has no 8-bit values; convert it"):
            images.in_channels(Image.new(mode, (3, 1)), "RGB")
        return
    image, expected = Image.fromarray(rgba), rgba
    if mode.startswith("I;16"):
        image = Image.frombytes(
            mode, (3, 1), np.array([0, 257 * 76, 65535], ">u2" if mode == "I;16B" else "<u2").tobytes()
        )
        expected = np.array([[[0], [76], [255]]]) * [1, 1, 1, 0] + [0, 0, 0, 255]
    elif mode in ("La", "RGBa", "PA"):
        image = image.convert({"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}[mode]).convert(mode)
    elif mode not in ("RGBA", "LA"):
        image, expected = image.convert("RGB").convert(mode), rgba | [0, 0, 0, 255]
    else:
        image = image.convert(mode)
    if mode in ("1", "L", "LA", "La"):
        grey = np.array([76, 150, 0])  # ITU-R 601-2
        expected = np.concatenate([grey[None, :, None].repeat(3, axis=2), expected[..., 3:]], axis=2)
    if mode == "1":
        expected[..., :3] = np.asarray(image)[..., None] * 255
    if channels < 4:
        alpha = expected[..., 3:] / 255
        expected = np.where(alpha < 1, 255 * (1 - alpha) + expected[..., :3] * alpha, expected[..., :3])
    if channels == 1:
        expected = expected @ [[0.299], [0.587], [0.114]]
    got = np.asarray(images.in_channels(image, {1: "L", 3: "RGB", 4: "RGBA"}[channels])).reshape(1, 3, channels)
    seen = got[..., 3:] > 0 if channels == 4 else True  # the color of a clear pixel is no one's business
    assert np.abs(np.where(seen, got - expected, 0)).max() <= 3, (got, expected)


def test_images_arrive_as_they_are_seen(tmp_path):
    """The orientation of a photograph, 16 bits of grey, and a drawing on clear ground."""
    x = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise
    Image.fromarray(x).save(tmp_path / "turned.png", exif=exif)
    turned = images.decode_image((tmp_path / "turned.png").read_bytes(), channels=1)
    np.testing.assert_array_equal(turned[..., 0], np.rot90(x, -1))
    Image.fromarray(x.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    deep = images.decode_image((tmp_path / "deep.png").read_bytes(), channels=1)
    np.testing.assert_array_equal(deep[..., 0], x)
    clear = Image.new("P", (2, 1))
    clear.putpalette([0, 0, 0, 0, 0, 0])
    clear.putpixel((1, 0), 1)
    clear.save(tmp_path / "clear.png", transparency=0)
    for channels in (1, 3):
        drawn = images.decode_image((tmp_path / "clear.png").read_bytes(), channels=channels)
        assert drawn[0, :, 0].tolist() == [255, 0]


def test_hidden_folders_are_skipped_and_links_followed(image_folder, tmp_path):
    path, x = image_folder
    (path / "dog").rename(tmp_path / "elsewhere")
    (path / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "around").symlink_to(path)  # without end
    for hidden in (".ipynb_checkpoints", "__MACOSX", "cat/.thumbnails"):
        (path / hidden).mkdir()
        (path / hidden / "00.png").write_bytes((path / "cat" / "00.png").read_bytes())
    (path / "cat" / "._00.png").write_bytes(b"resource fork")
    pets = data.load(path)
    assert (pets.class_names, pets.num_classes) == (("cat", "dog"), 2)
    np.testing.assert_array_equal(pets.splits["train"].arrays["x"], x)
    np.testing.assert_array_equal(pets.splits["train"].arrays["label"], [0] * 10 + [1] * 10)
    (path / "fish").mkdir()
    with pytest.raises(ValueError, match=r"class 'fish' of .*pets has no \.png or .* files; add some or remove it"):
        data.image_folder(path)
    (path / "fish" / "0.png").symlink_to(tmp_path / "lost.png")
    with pytest.raises(ValueError, match=r"0\.png is a link to a file that does not exist; repair or remove it"):
        data.image_folder(path)


def test_split_folders_are_known_in_any_spelling(image_folder, tmp_path):
    path, _ = image_folder
    root = tmp_path / "divided"
    for split in ("Training", "TEST"):
        (root / split).mkdir(parents=True)
    path.rename(root / "Training" / "pets")
    test = root / "TEST" / "pets" / "cat"
    test.mkdir(parents=True)
    (root / "Training" / "pets" / "cat" / "03.png").rename(test / "03.png")
    assert sizes(data.image_folder(root)) == {"train": 19, "test": 1}
    (root / "train").mkdir()
    with pytest.raises(ValueError, match=r"'Training' and 'train' both mean the train split; merge or rename one"):
        data.image_folder(root)
    (root / "train").rmdir()
    (root / "Training").rename(root / "more")
    with pytest.raises(ValueError, match=r"have \['TEST'\], but not 'train'; rename what is to be trained on"):
        data.image_folder(root)
    (root / "more").rename(root / "train")
    (root / "test 2").mkdir()
    (test / "03.png").rename(root / "test 2" / "03.png")
    with pytest.raises(ValueError, match=r"test 2 lies beside split folders .*; move it into one"):
        data.image_folder(root)


def test_text(tmp_path):
    content = "Grüße, Welt! " * 10
    (tmp_path / "greeting.txt").write_text(content, encoding="utf-8")
    (tmp_path / "greeting.txt.gz").write_bytes(gzip.compress(content.encode()))
    dataset = data.text(tmp_path / "greeting.txt", length=16, validation=32)
    assert (dataset.levels, sizes(dataset), dataset.spec()["x"].dtype) == (256, {"train": 7, "validation": 2}, np.uint8)
    train, validation = (b"".join(bytes(row) for row in dataset.splits[name].arrays["x"]) for name in dataset.splits)
    assert train == content.encode()[: 7 * 16]
    assert validation == content.encode()[-32:]
    characters = data.load(tmp_path / "greeting.txt.gz", length=13, tokenizer="characters", validation=0.2)
    assert dataset.tokenizer == data.Bytes()
    assert characters.tokenizer == data.Characters("".join(sorted(set(content))))
    assert characters.levels == characters.tokenizer.num_tokens
    row = characters.splits["validation"].arrays["x"][0]
    assert characters.tokenizer.decode(row) == "Grüße, Welt! "


def test_training_windows_of_a_text_may_overlap(tmp_path):
    (tmp_path / "digits.txt").write_text("0123456789" * 3)
    dataset = data.text(tmp_path / "digits.txt", length=5, stride=1, validation=10)
    train, validation = (dataset.splits[name] for name in ("train", "validation"))
    texts = [bytes(row).decode() for row in train.take(np.arange(len(train)))["x"]]
    assert texts == [("0123456789" * 3)[i : i + 5] for i in range(16)]  # none reaches into validation
    assert [bytes(row).decode() for row in validation.take(np.arange(2))["x"]] == ["01234", "56789"]
    with pytest.raises(ValueError, match="stride is 0, but must be at least 1"):
        data.text(tmp_path / "digits.txt", length=5, stride=0)


def test_a_byte_order_mark_is_no_token(tmp_path):
    (tmp_path / "marked.txt").write_text("abcabc", encoding="utf-8-sig")
    for tokenizer in ("bytes", "characters"):
        marked = data.text(tmp_path / "marked.txt", length=3, tokenizer=tokenizer, validation=0)
        assert marked.tokenizer.decode(marked.splits["train"].arrays["x"][0]) == "abc"
    assert data.lines(tmp_path / "marked.txt", validation=0).levels == 4  # "\n" is one


def test_characters_take_little_more_memory_than_the_file(tmp_path):
    (tmp_path / "long.txt").write_text("0123456789" * 200_000)
    tracemalloc.start()
    try:
        dataset = data.text(tmp_path / "long.txt", tokenizer="characters")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * 2_000_000
    assert dataset.spec()["x"].dtype == np.uint8


def test_bad_text(tmp_path):
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    (tmp_path / "broken.txt.gz").write_bytes(b"not gzip")
    with pytest.raises(ValueError, match="not UTF-8 at byte 2; convert it"):
        data.text(tmp_path / "latin.txt", length=2, tokenizer="characters")
    with pytest.raises(ValueError, match=r"length is 6, but .* has 5 tokens; use 1 … 5"):
        data.text(tmp_path / "latin.txt", length=6)
    with pytest.raises(ValueError, match="tokenizer is 'words'"):
        data.text(tmp_path / "latin.txt", tokenizer="words")
    with pytest.raises(ValueError, match=r"cannot decompress .*broken\.txt\.gz"):
        data.text(tmp_path / "broken.txt.gz")
