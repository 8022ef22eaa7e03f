#!/usr/bin/env python3
"""Writes a case for replay_makemoe: a short training run of a makeMoE model, computed in float64 by JAX.

An implementation of its own, written from the description of the model, that shares no line with the program under
test. It makes the sizes that the recordings of the original do not cover: a length or a number of experts that is
odd, k = 1 or 3, a capacity below the demand, the plain top-k router.

    python3 make_case.py odd.safetensors --experts 5 --top-k 3 --block-size 7 --capacity-factor 0.5

Needs jax (CPU) and numpy. README.md describes the file.
"""

import argparse
import json
import struct

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)


def initial_weights(a, rng):
    """Every tensor under its makeMoE name. Rounded to float32, since that is what the file holds."""
    w = {}

    def normal(name, *shape, scale):
        w[name] = rng.standard_normal(shape) * scale

    def linear(name, fan_in, fan_out, bias=True):
        normal(name + ".weight", fan_out, fan_in, scale=(2 / fan_in) ** 0.5)
        if bias:
            w[name + ".bias"] = rng.uniform(-1, 1, fan_out) / fan_in**0.5

    def norm(name):
        w[name + ".weight"] = 1 + 0.1 * rng.standard_normal(a.n_embed)
        w[name + ".bias"] = 0.1 * rng.standard_normal(a.n_embed)

    c = a.n_embed
    normal("token_embedding_table.weight", a.vocab_size, c, scale=1)
    normal("position_embedding_table.weight", a.block_size, c, scale=1)
    for layer in range(a.n_layer):
        block = f"blocks.{layer}"
        for head in range(a.n_head):
            for part in ("key", "query", "value"):
                linear(f"{block}.sa.heads.{head}.{part}", c, c // a.n_head, bias=False)
        linear(f"{block}.sa.proj", c, c)
        if a.router == "noisy-topk":
            linear(f"{block}.smoe.router.topkroute_linear", c, a.experts)
            linear(f"{block}.smoe.router.noise_linear", c, a.experts)
        else:
            linear(f"{block}.smoe.router.linear", c, a.experts)
        for e in range(a.experts):
            linear(f"{block}.smoe.experts.{e}.net.0", c, 4 * c)
            linear(f"{block}.smoe.experts.{e}.net.2", 4 * c, c)
        norm(f"{block}.ln1")
        norm(f"{block}.ln2")
    norm("ln_f")
    linear("lm_head", c, a.vocab_size)
    return {name: np.float64(np.float32(value)) for name, value in w.items()}


def linear(w, name, x):
    y = x @ w[name + ".weight"].T
    return y + w[name + ".bias"] if name + ".bias" in w else y


def layer_norm(w, name, x):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + 1e-5) * w[name + ".weight"] + w[name + ".bias"]


def attention(w, block, x, a):
    length = x.shape[1]
    heads = []
    for head in range(a.n_head):
        q, k, v = (linear(w, f"{block}.sa.heads.{head}.{part}", x) for part in ("query", "key", "value"))
        scores = q @ k.swapaxes(-2, -1) * a.n_embed**-0.5  # the width of the model, not of the head
        scores = jnp.where(jnp.tril(jnp.ones((length, length))) == 0, -jnp.inf, scores)
        heads.append(jax.nn.softmax(scores, axis=-1) @ v)
    return linear(w, f"{block}.sa.proj", jnp.concatenate(heads, axis=-1))


def mixture(w, block, x, noise, a):
    """Returns the output and, for every expert, whether it received a token."""
    if a.router == "noisy-topk":
        logits = linear(w, f"{block}.smoe.router.topkroute_linear", x)
        logits += noise * jax.nn.softplus(linear(w, f"{block}.smoe.router.noise_linear", x))
    else:
        logits = linear(w, f"{block}.smoe.router.linear", x)
    logits = logits.reshape(-1, a.experts)
    flat = x.reshape(-1, a.n_embed)
    threshold = jnp.sort(logits, axis=-1)[:, -a.top_k][:, None]
    chosen = logits >= threshold
    gates = jax.nn.softmax(jnp.where(chosen, logits, -jnp.inf), axis=-1)
    if a.capacity_factor > 0:
        capacity = int(flat.shape[0] * a.top_k / a.experts * a.capacity_factor)
        chosen &= jnp.cumsum(chosen, axis=0) <= capacity  # each expert's first ones
    out = jnp.zeros_like(flat)
    for e in range(a.experts):
        hidden = jax.nn.relu(linear(w, f"{block}.smoe.experts.{e}.net.0", flat))
        y = linear(w, f"{block}.smoe.experts.{e}.net.2", hidden)
        out += jnp.where(chosen[:, e : e + 1], gates[:, e : e + 1] * y, 0)
    return out.reshape(x.shape), chosen.any(axis=0)


def loss(w, idx, targets, noise, a):
    x = w["token_embedding_table.weight"][idx] + w["position_embedding_table.weight"][: idx.shape[1]]
    used = []
    for layer in range(a.n_layer):
        block = f"blocks.{layer}"
        x = x + attention(w, block, layer_norm(w, block + ".ln1", x), a)
        y, received = mixture(w, block, layer_norm(w, block + ".ln2", x), noise[layer], a)
        x = x + y
        used.append(received)
    logits = linear(w, "lm_head", layer_norm(w, "ln_f", x))
    rows = jax.nn.log_softmax(logits.reshape(-1, a.vocab_size), axis=-1)
    value = -rows[jnp.arange(targets.size), targets.reshape(-1)].mean()
    return value, (logits, used)


def has_gradient(name, used):
    part = name.split(".")
    return "experts" not in part or bool(used[int(part[1])][int(part[4])])


def write(path, tensors, metadata):
    header, offset = {"__metadata__": metadata}, 0
    for name, (dtype, array) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, array in tensors.values():
            f.write(array.tobytes())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("path")
    for name, value in [("batch-size", 3), ("block-size", 7), ("n-embed", 12), ("n-head", 3), ("n-layer", 2),
                        ("experts", 5), ("top-k", 3), ("vocab-size", 11), ("steps", 4), ("seed", 1)]:
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--capacity-factor", type=float, default=0.0)
    p.add_argument("--learning-rate", type=float, default=1e-3)
    p.add_argument("--router", choices=["noisy-topk", "topk"], default="noisy-topk")
    a = p.parse_args()

    rng = np.random.default_rng(a.seed)
    w = initial_weights(a, rng)
    m = {name: np.zeros_like(value) for name, value in w.items()}
    v = {name: np.zeros_like(value) for name, value in w.items()}
    count = dict.fromkeys(w, 0)
    f32 = lambda x: ("F32", np.asarray(x, dtype=np.float32))
    i64 = lambda x: ("I64", np.asarray(x, dtype=np.int64))
    tensors = {"weight/" + name: f32(value) for name, value in w.items()}
    losses = []
    step = jax.jit(jax.value_and_grad(lambda w, i, t, n: loss(w, i, t, n, a), has_aux=True))
    for i in range(a.steps):
        idx, targets = rng.integers(0, a.vocab_size, (2, a.batch_size, a.block_size))
        noise = rng.standard_normal((a.n_layer, a.batch_size, a.block_size, a.experts))
        noise = np.float64(np.float32(noise))
        (value, (logits, used)), grad = step(w, idx, targets, noise)
        losses.append(float(value))
        tensors |= {f"step{i}/idx": i64(idx), f"step{i}/targets": i64(targets), f"step{i}/logits": f32(logits),
                    f"step{i}/loss": f32([value])}
        if a.router == "noisy-topk":
            tensors |= {f"step{i}/noise/{layer}": f32(noise[layer]) for layer in range(a.n_layer)}
        print(f"step {i}: loss {value:.9f}, experts used {[list(map(int, u)) for u in used]}")
        for name in w:  # AdamW (Loshchilov and Hutter 2019); what has no gradient is left alone
            if i == 0:
                tensors["grad/" + name] = f32(grad[name])
            if not has_gradient(name, used):
                continue
            count[name] += 1
            g, t = np.asarray(grad[name]), count[name]
            w[name] = w[name] * (1 - a.learning_rate * 0.01)
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g * g
            w[name] -= a.learning_rate * (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
    tensors |= {"final/" + name: f32(value) for name, value in w.items()}

    metadata = {"batch_size": a.batch_size, "block_size": a.block_size, "n_embed": a.n_embed, "n_head": a.n_head,
                "n_layer": a.n_layer, "num_experts": a.experts, "top_k": a.top_k,
                "capacity_factor": a.capacity_factor, "steps": a.steps, "seed": a.seed,
                "learning_rate": a.learning_rate, "vocab_size": a.vocab_size,
                "losses": " ".join(f"{x:.9f}" for x in losses)}
    write(a.path, tensors, {key: str(value) for key, value in metadata.items()})


if __name__ == "__main__":
    main()
