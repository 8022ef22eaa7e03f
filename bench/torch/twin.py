"""The same model in PyTorch, to compare times with: makeMoE's architecture, written in two ways.

naive    as one writes it down: a module per head, a mask per expert, AdamW as it comes
grouped  as one makes it fast: one product for all queries, keys and values, PyTorch's fused attention, tokens sorted
         by expert, AdamW in one call

Both are held against a recorded run of the original program (--check) before their times mean anything.
"""
import argparse
import json
import struct
import time
from types import SimpleNamespace

import numpy
import torch
from torch import nn
from torch.nn import functional as F

DEFAULTS = dict(batch_size=16, block_size=32, n_embed=128, n_head=8, n_layer=8, num_experts=8, top_k=2, vocab_size=65,
                dropout=0.1, learning_rate=1e-3)


class Head(nn.Module):
    def __init__(self, c):
        super().__init__()
        width = c.n_embed // c.n_head
        self.key = nn.Linear(c.n_embed, width, bias=False)
        self.query = nn.Linear(c.n_embed, width, bias=False)
        self.value = nn.Linear(c.n_embed, width, bias=False)
        self.register_buffer("seen", torch.tril(torch.ones(c.block_size, c.block_size)))
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x):
        t, width = x.shape[1:]
        score = self.query(x) @ self.key(x).transpose(-2, -1) * width**-0.5  # of the model, as the original has it
        score = score.masked_fill(self.seen[:t, :t] == 0, float("-inf"))
        return self.dropout(F.softmax(score, dim=-1)) @ self.value(x)


class NaiveAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = nn.ModuleList(Head(c) for _ in range(c.n_head))
        self.proj = nn.Linear(c.n_embed, c.n_embed)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x):
        return self.dropout(self.proj(torch.cat([head(x) for head in self.heads], dim=-1)))


class GroupedAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.qkv = nn.Linear(c.n_embed, 3 * c.n_embed, bias=False)
        self.proj = nn.Linear(c.n_embed, c.n_embed)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x):
        b, t, width = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.config.n_head, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=width**-0.5,
                                           dropout_p=self.config.dropout if self.training else 0.0)
        return self.dropout(self.proj(y.transpose(1, 2).reshape(b, t, width)))


class Router(nn.Module):
    """Noisy logits; `noise` holds recorded normals when there are some."""

    def __init__(self, c):
        super().__init__()
        self.topkroute_linear = nn.Linear(c.n_embed, c.num_experts)
        self.noise_linear = nn.Linear(c.n_embed, c.num_experts)
        self.noise = None

    def forward(self, x):
        logits, spread = self.topkroute_linear(x), F.softplus(self.noise_linear(x))
        return logits + (torch.randn_like(logits) if self.noise is None else self.noise) * spread


class Expert(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(c.n_embed, 4 * c.n_embed), nn.ReLU(), nn.Linear(4 * c.n_embed, c.n_embed),
                                 nn.Dropout(c.dropout))

    def forward(self, x):
        return self.net(x)


class MoE(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.top_k = c.top_k
        self.router = Router(c)
        self.experts = nn.ModuleList(Expert(c) for _ in range(c.num_experts))


class NaiveMoE(MoE):
    def forward(self, x):
        logits = self.router(x)
        top, chosen = logits.topk(self.top_k, dim=-1)
        gate = F.softmax(torch.full_like(logits, float("-inf")).scatter(-1, chosen, top), dim=-1)
        y = torch.zeros_like(x)
        flat_x, flat_gate = x.view(-1, x.shape[-1]), gate.view(-1, gate.shape[-1])
        for e, expert in enumerate(self.experts):
            mask = (chosen == e).any(dim=-1)
            rows = mask.view(-1)
            if rows.any():
                y[mask] += expert(flat_x[rows]) * flat_gate[rows, e].unsqueeze(1)
        return y


class GroupedMoE(MoE):
    def forward(self, x):
        flat = x.view(-1, x.shape[-1])
        top, chosen = self.router(flat).topk(self.top_k, dim=-1)
        gate = F.softmax(top, dim=-1).view(-1)
        order = chosen.view(-1).argsort(stable=True)
        counts = torch.bincount(chosen.view(-1), minlength=len(self.experts)).tolist()
        token = order // self.top_k
        parts = flat[token].split(counts)
        y = torch.cat([expert(part) for expert, part in zip(self.experts, parts) if len(part)])
        return torch.zeros_like(flat).index_add(0, token, (y * gate[order].unsqueeze(1)).to(x.dtype)).view_as(x)


class Block(nn.Module):
    def __init__(self, c, attention, moe):
        super().__init__()
        self.sa, self.smoe = attention(c), moe(c)
        self.ln1, self.ln2 = nn.LayerNorm(c.n_embed), nn.LayerNorm(c.n_embed)

    def forward(self, x):
        x = x + self.sa(self.ln1(x))
        return x + self.smoe(self.ln2(x))


class Model(nn.Module):
    def __init__(self, c, attention, moe):
        super().__init__()
        self.config = c
        self.token_embedding_table = nn.Embedding(c.vocab_size, c.n_embed)
        self.position_embedding_table = nn.Embedding(c.block_size, c.n_embed)
        self.blocks = nn.Sequential(*(Block(c, attention, moe) for _ in range(c.n_layer)))
        self.ln_f = nn.LayerNorm(c.n_embed)
        self.lm_head = nn.Linear(c.n_embed, c.vocab_size)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, ids):
        x = self.token_embedding_table(ids) + self.position_embedding_table.weight[: ids.shape[1]]
        return self.lm_head(self.ln_f(self.blocks(x)))

    def loss(self, ids, targets):
        return F.cross_entropy(self(ids).flatten(0, 1), targets.flatten())


def make(variant, config, dtype=torch.float32, device="cpu"):
    if variant == "naive":
        model = Model(config, NaiveAttention, NaiveMoE).to(device, dtype)
        return model, torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
    model = Model(config, GroupedAttention, GroupedMoE).to(device, dtype)
    return model, torch.optim.AdamW(model.parameters(), lr=config.learning_rate, fused=True)


# --- the same as the original? ----------------------------------------------------------------------------------------


def read_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    kinds = {"F32": numpy.float32, "I64": numpy.int64}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            array = numpy.frombuffer(data[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"])
            tensors[name] = torch.from_numpy(array.copy())
    return tensors, header["__metadata__"]


def original_names(model):
    """Each weight under its name in the original, where every head has its own."""
    heads, split = model.config.n_head, {}
    for name, value in model.named_parameters():
        if ".qkv." in name:
            for part, what in zip(value.detach().chunk(3), ("query", "key", "value")):
                for h, rows in enumerate(part.chunk(heads)):
                    split[name.replace("qkv", f"heads.{h}.{what}")] = rows
        else:
            split[name] = value.detach()
    return split


def check(variant, path):
    """Takes the recorded run through this model in double precision; returns the largest relative deviation."""
    recorded, meta = read_safetensors(path)
    config = SimpleNamespace(**{**DEFAULTS, **{k: int(meta[k]) for k in DEFAULTS if k in meta and k != "learning_rate"},
                                "learning_rate": float(meta["learning_rate"]), "dropout": 0.0})
    model, optimizer = make(variant, config, torch.float64)
    with torch.no_grad():
        for name, value in original_names(model).items():
            value.copy_(recorded["weight/" + name])
    worst = 0.0
    for step, wanted in enumerate(float(x) for x in meta["losses"].split()):
        for layer, block in enumerate(model.blocks):
            noise = recorded[f"step{step}/noise/{layer}"].double()
            block.smoe.router.noise = noise if variant == "naive" else noise.flatten(0, 1)
        loss = model.loss(recorded[f"step{step}/idx"], recorded[f"step{step}/targets"])
        worst = max(worst, abs(loss.item() - wanted) / wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in original_names(model).items():
        wanted = recorded["final/" + name].double()
        worst = max(worst, ((value - wanted).abs().max() / wanted.abs().max()).item())
    return worst


# --- times ------------------------------------------------------------------------------------------------------------


def seconds_of(device, body):
    start = time.perf_counter()
    body()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def median_ms(device, runs, body):
    for _ in range(3):
        seconds_of(device, body)
    return 1e3 * sorted(seconds_of(device, body) for _ in range(runs))[runs // 2]


def measure(variant, config, options):
    device, steps = options.device, options.steps
    torch.set_float32_matmul_precision("high" if options.dtype == "tf32" else "highest")
    torch.manual_seed(1337)
    model, optimizer = make(variant, config, device=device)
    loss_of = torch.compile(model.loss) if options.compile else model.loss
    text = torch.randint(config.vocab_size, (100_000,), device=device)

    def rounded():
        return torch.autocast(device, torch.bfloat16, enabled=options.dtype == "bf16")

    def batch():
        at = torch.randint(len(text) - config.block_size, (config.batch_size,), device=device)
        window = at.unsqueeze(1) + torch.arange(config.block_size, device=device)
        return text[window], text[window + 1]

    def gradients():
        optimizer.zero_grad(set_to_none=True)
        with rounded():
            loss = loss_of(*batch())
        loss.backward()

    def step():
        gradients()
        optimizer.step()

    def generate():
        ids = torch.zeros((1, 1), dtype=torch.long, device=device)
        for _ in range(options.tokens):  # past the window nothing of the last token's work can be used again
            logits = model(ids[:, -config.block_size:])[:, -1]
            ids = torch.cat([ids, torch.multinomial(F.softmax(logits, dim=-1), 1)], dim=1)

    figures = {"step": median_ms(device, steps, step), "forward_backward": median_ms(device, steps, gradients)}
    model.eval()
    with torch.inference_mode(), rounded():
        figures["evaluation"] = median_ms(device, steps, lambda: model.loss(*batch()))
        figures["tokens_per_second"] = options.tokens / seconds_of(device, generate)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", choices=("naive", "grouped"))
    parser.add_argument("--check", metavar="FILE", help="compare with a recorded run instead of measuring")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("fp32", "tf32", "bf16"), default="fp32", help="of products on a GPU")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.check:
        print(json.dumps({"deviation": check(options.variant, options.check)}))
    else:
        print(json.dumps(measure(options.variant, SimpleNamespace(**DEFAULTS), options)))


if __name__ == "__main__":
    main()
