"""Pix2Pix on the CMP Facades, 64 x 64 pixels: photos of buildings drawn from maps of their parts.

Command: genjax train experiments/pix2pix_facades.py, again with --no-adversarial for the L1 distance alone, and then
experiments/benchmarks/translation.py --pix2pix RUN --l1 RUN
Reached: Fréchet distance 3.78 and kernel distance 0.49 between patches of 106 drawn and real test photos, where the
same generator trained by the L1 distance alone has 9.93 and 3.44, and maps painted in the mean colour of each class
37.1 and 13.7; a segmenter trained on photos recovers 52.8 % of the pixels' classes (57.0 % from the L1 distance alone,
55.9 % from photos). L1 distance 0.1706, pixels in [0, 1] (0.1531; mean colours 0.1712; photo of the nearest training
map 0.2123). One seed, 0; 9 min beside other work on 2 CPU cores (AMD EPYC, jax 0.10.2).
The map says little about colours: even maps painted in the median colours of their own photos have an L1 distance of
0.1411. Chosen on the validation split: a discriminator with spectral in place of instance normalization has a lower L1
distance, 0.1605 there, but kernel distance 5.39.
"""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import Experiment, data, gan
from genjax.arguments import PositiveFloat

SOURCE = (
    "https://cmp.felk.cvut.cz/~tylecr1/facade (Tyleček and Šára 2013): write an .npz file with photo (N, 64, 64, 3) "
    "uint8, label_map (N, 64, 64), palette (K, 3) and split (N,), 0 to 2 for train, validation and test, and pass "
    "--path FILE"
)
SHIFT = 4  # pixels


def facades(path: Path) -> data.Dataset:
    """Return photos x and coloured maps y, uint8 of shape (64, 64, 3), in the splits of the file."""
    with data.available_from(SOURCE), np.load(path, allow_pickle=False) as file:
        photos, maps, split = file["photo"], file["palette"][file["label_map"]], file["split"]
    splits = {
        name: data.ArraySource({"x": photos[split == number], "y": maps[split == number]})
        for number, name in enumerate(("train", "validation", "test"))
    }
    return data.Dataset(name="facades", splits=splits, levels=256)


def jitter(key: jax.Array, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Mirror half of the pairs, and shift each by up to 4 pixels, with its border repeated."""
    mirror_key, shift_key = jax.random.split(key)
    pairs = jnp.concatenate([batch["x"], batch["y"]], axis=-1)
    mirrored = jax.random.bernoulli(mirror_key, 0.5, (len(pairs), 1, 1, 1))
    pairs = jnp.where(mirrored, pairs[:, :, ::-1], pairs)
    padded = jnp.pad(pairs, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    starts = jax.random.randint(shift_key, (len(pairs), 2), 0, 2 * SHIFT + 1)
    windows = jax.vmap(lambda image, start: jax.lax.dynamic_slice(image, (start[0], start[1], 0), pairs.shape[1:]))
    x, y = jnp.split(windows(padded, starts), [batch["x"].shape[-1]], axis=-1)
    return {**batch, "x": x, "y": y}


def experiment(
    path: Path = Path("../shared/data/facades_64.npz"),
    adversarial: bool = True,
    width: int = 16,
    l1_weight: PositiveFloat = 100.0,
    learning_rate: PositiveFloat = 5e-4,
    ema_decay: float = 0.99,
    steps: int = 3_000,
    batch_size: int = 8,
) -> Experiment:
    """Describe the run.

    Args:
      path: path of an ``.npz`` file with the CMP Facades.
      adversarial: whether there is a discriminator; without one, the L1 distance alone is minimized.
      width: number of channels of the first stage of each network.
      l1_weight: weight of the L1 distance.
      learning_rate: learning rate of Adam, which decays to zero over the second half of training.
      ema_decay: decay of the parameters' exponential moving average, which is evaluated.
      steps: number of training steps.
      batch_size: number of pairs in a minibatch.
    """
    discriminator = gan.PatchDiscriminator((width, 2 * width, 4 * width))
    schedule = optax.linear_schedule(learning_rate, 0.0, steps - steps // 2, steps // 2)
    return Experiment(
        model=gan.Pix2Pix(
            generator=gan.UNetGenerator(
                (width, 2 * width, 4 * width, 8 * width, 8 * width), dropout=0.5, num_dropout_stages=2
            ),
            discriminator=discriminator if adversarial else None,
            l1_weight=l1_weight,
        ),
        data=facades(path),
        preprocess=data.chain(data.scale(), data.scale(entry="y"), jitter),
        optimizer=optax.adam(schedule, b1=0.5),
        ema_decay=ema_decay,
        steps=steps,
        batch_size=batch_size,
    )
