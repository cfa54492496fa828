"""Training steps of rebnord2022, against PyTorch: `train_step/rebnord2022`.

Ours is `make_train_step` as in training: 64 spectrograms of 128 x 250, 64 latents, 10 flows, compiled with a donated state.
Theirs is the same network in PyTorch, with the same masked products in the flows, PyTorch's own pooling, bilinear interpolation
and Adam, channels_last (three times as fast as its default), and as many threads as this process may use, or the same GPU. It
has the same parameters and loss; a test compares the numbers of both. Both run in one process, in turns, and the best round
counts; compilation has its own row.

PyTorch is not among the requirements (`pip install torch`; a build for the CPU is enough). Without it, only our side is
measured.
"""

from __future__ import annotations

import os
import time

from experiments.benchmarks.timing import best_seconds, rates_row, row

BATCH, ROUNDS, FRAMES, BANDS = 64, 6, 250, 128


def run() -> list[dict]:
    """Returns the rows of the benchmark."""
    import jax
    import numpy as np

    from timbre_jax.models import make_model
    from timbre_jax.training.distributed.sharding import make_placement
    from timbre_jax.training.state import create_state, make_optimizer
    from timbre_jax.training.step import make_train_step

    random = np.random.default_rng(0)
    batch = {
        "values": random.uniform(size=(BATCH, FRAMES, BANDS)).astype(np.float32),
        "mask": np.ones((BATCH, FRAMES), np.float32),
        "index": np.arange(BATCH, dtype=np.int32),
    }
    model, optimizer, placement = make_model("flow_vae"), make_optimizer(eps=1e-4), make_placement("jit")
    hyper = {"learning_rate": 1e-3, "kl_weight": 1.0}
    state = placement.compile_eval(lambda key: create_state(model, optimizer, key, hyper=hyper))(jax.random.key(0))
    params = jax.device_get(state.params)
    placed, key = placement.train_batch(batch), jax.random.key(1)
    start = time.perf_counter()
    step = jax.jit(make_train_step(model, optimizer), donate_argnums=0).lower(state, placed, key).compile()
    compiled = time.perf_counter() - start
    states = {"state": state}

    def ours():
        states["state"], _ = step(states["state"], placed, key)
        return states["state"]

    sides = {"ours": ours}
    try:
        sides["theirs"] = pytorch_step(params, model, batch["values"])
    except ImportError as error:
        print(f"train_step/rebnord2022: PyTorch is not measured ({error})", flush=True)
    rates = {name: 1.0 / seconds for name, seconds in best_seconds(sides, rounds=ROUNDS).items()}
    return [rates_row("train_step/rebnord2022", "steps/s", **rates), row("train_step/rebnord2022/compile", "s", compiled)]


def pytorch_step(params, model, values):
    """Returns a function that takes one training step of the PyTorch network.

    Args:
      params: parameters of the `FlowVAE`.
      model: the `FlowVAE`.
      values: spectrograms [B, N, F].

    Raises:
      ImportError: if PyTorch is missing, or JAX uses a GPU and PyTorch cannot.
    """
    import jax
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = "cpu"
    if jax.default_backend() == "gpu":
        if not torch.cuda.is_available():
            raise ImportError("this build of PyTorch has no CUDA support")
        device = "cuda"
    network = pytorch_network(params, model)
    network = network.to(device=device, memory_format=torch.channels_last)
    picture = torch.tensor(values).transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last).to(device)
    adam = torch.optim.Adam(network.parameters(), 1e-3, eps=1e-4)

    def step():
        adam.zero_grad()
        reconstruction, kl, _ = network(picture)
        (reconstruction + kl).mean().backward()
        adam.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def pytorch_network(params, model):
    """Returns a PyTorch module with the parameters of a `FlowVAE`.

    It takes spectrograms [B, 1, H, W] and returns cross-entropy [B], KL [B] and logits; `.eval()` turns off noise and dropout.
    """
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn

    def linear(leaf):
        layer = nn.Linear(*leaf["kernel"].shape)
        layer.weight.data, layer.bias.data = torch.tensor(np.array(leaf["kernel"].T)), torch.tensor(np.array(leaf["bias"]))
        return layer

    def parameter(leaf):
        return nn.Parameter(torch.tensor(np.array(leaf)))

    class Flow(nn.Module):
        def __init__(self, p):
            super().__init__()
            size, units, _ = p["out"].shape
            width = p["hidden_context"].shape[0]
            full = np.zeros((width + size, size, units), np.float32)
            full[:width] = p["hidden_context"].reshape(width, size, units)
            rows, columns = np.triu_indices(size, 1)
            full[width + rows, columns] = p["hidden_latent"]
            mask = np.ones((width + size, size, 1), np.float32)
            mask[width:, :, 0] = np.triu(mask[width:, :, 0], 1)
            self.shape = (size, units)
            self.context = linear(p["context"])
            self.first, self.first_bias = parameter(full.reshape(width + size, -1)), parameter(p["hidden_bias"].reshape(-1))
            self.register_buffer("mask", torch.tensor(np.broadcast_to(mask, full.shape).reshape(width + size, -1).copy()))
            self.out, self.out_bias = parameter(p["out"]), parameter(p["out_bias"])

        def forward(self, z, context):
            h = F.elu(self.context(context))
            units = F.elu(torch.cat([h, z], 1) @ (self.first * self.mask) + self.first_bias).view(-1, *self.shape)
            m, gate = (torch.einsum("bdu,duo->bdo", units, self.out) + self.out_bias).unbind(-1)
            gate = 1 + gate
            return (m + torch.sigmoid(gate) * (z - m)).flip(1), F.logsigmoid(gate).sum(1)

    class PyTorchFlowVAE(nn.Module):
        def __init__(self):
            super().__init__()
            kernels = [params["encoder"][f"kernel_{i}"].transpose(3, 2, 0, 1) for i in range(len(model.channels))]
            self.encoder = nn.ParameterList([parameter(kernel) for kernel in kernels])
            kernels = [params["decoder"][f"kernel_{i}"] for i in range(len(model.channels))]
            # The thesis uses transposed convolutions of stride 1, whose kernels are reversed.
            kernels = [kernel[::-1, ::-1].transpose(2, 3, 0, 1) for kernel in kernels]
            self.decoder = nn.ParameterList([parameter(kernel) for kernel in kernels])
            self.dense, self.mean = linear(params["dense"]), linear(params["mean"])
            self.log_variance, self.dense_back = linear(params["log_variance"]), linear(params["decoder"]["dense"])
            self.flows = nn.ModuleList([Flow(params["flow"][f"flows_{i}"]) for i in range(model.flows)])

        def forward(self, picture):
            x, sizes = picture, [picture.shape[2:]]
            for kernel, window in zip(self.encoder, model.pools, strict=True):
                x = F.elu(F.max_pool2d(F.conv2d(x, kernel, padding=1), window, 2))
                sizes.append(x.shape[2:])
            channels = x.shape[1]
            # The flat features have their channels last, as in our network.
            context = x.permute(0, 2, 3, 1).flatten(1)
            hidden = F.dropout(F.elu(self.dense(context)), model.dropout, self.training)
            mean, log_variance = self.mean(hidden), self.log_variance(hidden)
            noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
            z, log_det = mean + torch.exp(0.5 * log_variance) * noise, 0.0
            for flow in self.flows:
                z, part = flow(z, context)
                log_det = log_det + part
            kl = 0.5 * (z**2 - noise**2 - log_variance).sum(1) - log_det
            x = F.dropout(F.elu(self.dense_back(z)), model.dropout, self.training)
            x = x.view(-1, *sizes[-1], channels).permute(0, 3, 1, 2)
            for i, (kernel, size) in enumerate(zip(self.decoder, sizes[-2::-1], strict=True)):
                x = F.interpolate(F.elu(x) if i else x, size=tuple(size), mode="bilinear", align_corners=False)
                x = F.conv_transpose2d(x, kernel, padding=1)
            cost = F.binary_cross_entropy_with_logits(x, picture, reduction="none").sum((1, 2, 3))
            return cost, kl, x[:, 0]

    return PyTorchFlowVAE()
