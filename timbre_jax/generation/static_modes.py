"""What `generate` makes: each mode takes a space and plain settings and gives (file name, wave [T], manifest entry) one by one.

Sounds are combined around the training mean m: z = m + sum_i w_i (z_i - m). Where the weights sum to 1 (an average,
a + b - c) that is the plain sum; where they do not (a - b) the result stays where sounds are, and does not go to the origin,
where none need be.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from timbre_jax.generation.sound_files import short_name


def embed_inputs(space, inputs: list[dict]):
    """One `Latent` [1, D] an input."""
    return [space.embed(entry["wave"][None], np.array([entry["length"]], np.int32)) for entry in inputs]


def reconstruct(space, inputs):
    for number, (entry, latent) in enumerate(zip(inputs, embed_inputs(space, inputs), strict=True)):
        name = f"{number:03d}_{short_name(entry['path'])}"
        about = {"latent": plain(latent.values[0]), "made_from": {"file": str(entry["path"])}, "remarks": entry["remarks"]}
        yield f"{name}_original.wav", entry["wave"][: entry["length"]], dict(about)
        yield f"{name}_reconstruction.wav", np.asarray(space.render(latent))[0], dict(about)


def sample(space, number, draw_from, spread, seed):
    import jax

    from timbre_jax.generation.static_paths import sample_aggregate, sample_prior
    from timbre_jax.inference.rendering import render_values

    key = jax.random.key(seed)
    if draw_from == "training":
        points = np.asarray(sample_aggregate(space, number, key=key, spread=spread))
    else:
        points = spread * np.asarray(sample_prior(space, number, key=key))
    waves = render_values(space, points)
    for i in range(number):
        made_from = {"drawn_from": draw_from, "seed": seed, "draw": i}
        yield f"sample_{i:03d}.wav", waves[i], {"latent": plain(points[i]), "made_from": made_from}


def interpolate_files(space, inputs, steps, method):
    from timbre_jax.generation.static_paths import interpolate
    from timbre_jax.inference.rendering import render_values

    start, end = (np.asarray(latent.values[0]) for latent in embed_inputs(space, inputs))
    points = np.asarray(interpolate(start, end, steps=steps, method=method))
    names = [short_name(entry["path"], most=40) for entry in inputs]
    remarks = [f"{name}: {remark}" for name, entry in zip(names, inputs, strict=True) for remark in entry["remarks"]]
    for i, wave in enumerate(render_values(space, points)):
        share = i / (steps - 1)
        source = {"from": str(inputs[0]["path"]), "to": str(inputs[1]["path"]), "share": share}
        name = f"interpolation_{i:03d}_{names[0]}_to_{names[1]}_{round(100 * share):03d}.wav"
        yield name, wave, {"latent": plain(points[i]), "made_from": source, "remarks": remarks}


def sweep_latent(space, inputs, latent, steps):
    from timbre_jax.generation.static_paths import sweep
    from timbre_jax.inference.rendering import render_values

    base, source, start, remarks = np.asarray(space.statistics["latent_mean"]), "mean of the training notes", "mean", []
    if inputs:
        path, remarks = inputs[0]["path"], inputs[0]["remarks"]
        base, source, start = np.asarray(embed_inputs(space, inputs)[0].values[0]), str(path), short_name(path)
    points = np.asarray(sweep(space, base, latent, steps=steps))
    for i, wave in enumerate(render_values(space, points)):
        value = float(points[i, latent])
        name = f"sweep_latent_{latent}_{start}_{i:03d}_at_{value:+.2f}.wav"
        made_from = {"start": source, "latent": latent, "value": value}
        yield name, wave, {"latent": plain(points[i]), "made_from": made_from, "remarks": remarks}


FAR = 0.1
"""Of a map's width: from there on a sound is remarked to be a guess."""


def open_map(space, path):
    """The map in a folder or .npz that experiments/map.py made, and the names of its sounds (from map.json; none without).

    Raises:
      ValueError: no map, or one of another space.
    """
    from timbre_jax.maps.sound_map import load_map, space_digest

    path = Path(path)
    made = load_map(path if path.suffix == ".npz" else path / "map.npz")
    if made.settings.get("space") != space_digest(space):
        raise ValueError(f"{path} was made from another space than the run's ({made.settings.get('run')}): make the map again")
    try:
        document = json.loads(((path.parent if path.suffix == ".npz" else path) / "map.json").read_text(encoding="utf-8"))
        names = [str(sound["id"]) for sound in document["sounds"]]
    except (OSError, ValueError, KeyError, TypeError):
        names = []
    return made, names if len(names) == len(made.coordinates) else []


def map_points(space, made, names, path: str, at):
    """New sounds at points [M, 2] of a map whose sounds have names [P] (or none)."""
    from timbre_jax.inference.rendering import render_values

    latents, distances = made.inverse(at)
    nearest = made.inverse.nearest(at)
    for i, wave in enumerate(render_values(space, latents)):
        x, y, distance = float(at[i][0]), float(at[i][1]), float(distances[i])
        source = {"map": path, "x": x, "y": y, "distance": distance, "nearest_row": int(nearest[i])}
        if names:
            source["nearest"] = names[nearest[i]]
        remarks = [f"{distance:.2f} of the map's width from the nearest sound: a guess"] if distance > FAR else []
        yield (
            f"map_{i:03d}_at_{x:.3f}_{y:.3f}.wav",
            wave,
            {"latent": plain(latents[i]), "made_from": source, "remarks": remarks},
        )


def variations(space, inputs, number: int, spread: float, seed: int):
    """`number` sounds around each input: its latent plus `spread` training deviations of noise, its own key each."""
    import jax

    from timbre_jax.generation.static_paths import vary
    from timbre_jax.inference.rendering import render_values

    for i, (entry, latent) in enumerate(zip(inputs, embed_inputs(space, inputs), strict=True)):
        key = jax.random.fold_in(jax.random.key(seed), i)
        points = np.asarray(vary(space, latent.values[0], number, key=key, spread=spread))
        for draw, wave in enumerate(render_values(space, points)):
            source = {"file": str(entry["path"]), "spread": spread, "seed": seed, "draw": draw}
            about = {"latent": plain(points[draw]), "made_from": source, "remarks": entry["remarks"]}
            yield f"{i:03d}_{short_name(entry['path'])}_variation_{draw:03d}.wav", wave, about


def combine_files(space, inputs, weights, mode: str):
    """One sound: the weighted sum of all inputs' latents around the training mean."""
    from timbre_jax.generation.static_paths import combine
    from timbre_jax.inference.rendering import render_values

    values = np.concatenate([np.asarray(latent.values) for latent in embed_inputs(space, inputs)])
    point = np.asarray(combine(space, values, weights))[None]
    names = [short_name(entry["path"], most=24) for entry in inputs]
    remarks = [f"{name}: {remark}" for name, entry in zip(names, inputs, strict=True) for remark in entry["remarks"]]
    terms = [{"file": str(entry["path"]), "weight": float(w)} for entry, w in zip(inputs, weights, strict=True)]
    signs = ["minus_" if w < 0 else ("plus_" if i else "") for i, w in enumerate(weights)]
    title = "_".join(sign + name for sign, name in zip(signs[:4], names, strict=False)) + ("_etc" if len(names) > 4 else "")
    wave = render_values(space, point)[0]
    yield f"{mode}_{title}.wav", wave, {"latent": plain(point[0]), "made_from": {"terms": terms}, "remarks": remarks}


def predicted_classes(space, features) -> list[dict] | None:
    """What a space with class heads says of features of M sounds: {kind: {class: probability}} each; None without heads."""
    kinds = getattr(space.model, "classes", ())
    if not kinds or not callable(getattr(space, "classify", None)):
        return None
    predicted = {name: np.asarray(shares) for name, shares in space.classify(features).items()}
    return [
        {name: dict(zip(labels, plain(predicted[name][row]), strict=True)) for name, labels in kinds}
        for row in range(len(features.values))
    ]


def plain(values) -> list[float]:
    """Numbers as JSON has them."""
    return [float(value) for value in np.asarray(values)]
