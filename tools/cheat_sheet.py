"""The cheat sheet of the book: each formula with its equation, its function and its check.

python -m tools.cheat_sheet   write book/cheat_sheet.md

A row's check yields pairs: what the formula says, in plain Python, and what the package says.
"""

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fcn_tutorial import losses, metrics, upsampling
from fcn_tutorial.geometry import (
    Layer,
    coordinate_map,
    crop_offset,
    minimum_padding,
    output_size,
    receptive_field,
)
from fcn_tutorial.models import FCN
from fcn_tutorial.training.optimisation import rate
from fcn_tutorial.training.recipes.recipe import Optimiser
from tools import glossary
from tools.project import ROOT

PAGE = ROOT / "book" / "cheat_sheet.md"
Pairs = Iterator[tuple[object, object]]  # numbers, or tuples and lists of them

HEAD = """# Cheat sheet

What you need at the desk, on a sheet to print. The letters are those of the [notation](notation.md). A number in brackets leads to the derivation and to the cell that asserts it, a name to the function that computes it. Each line is evaluated in plain Python and compared with its function whenever the tests run.
"""  # noqa: E501


@dataclass(frozen=True)
class Row:
    """One line of the sheet.

    Attributes:
        name: what the formula gives.
        formula: TeX, or sentences with TeX in dollars.
        equations: numbers in the chapters.
        function: dotted name inside the package.
        check: yields what the formula says and what the function says.
    """

    name: str
    formula: str
    equations: tuple[str, ...]
    function: str
    check: Callable[[], Pairs]


# ---- Sizes and places ----------------------------------------------------------------------------


def _up(factor: int) -> Layer:
    return Layer(2 * factor, factor, kind="deconv")


def _layers(kernels: tuple[int, ...] = (1, 2, 3, 7)) -> Iterator[tuple[int, int, int, int]]:
    """Kernel, stride, padding and dilation."""
    return product(kernels, (1, 2, 3), (0, 1), (1, 2))


def _convolution() -> Pairs:
    for (k, s, p, d), n in product(_layers(), (13, 224)):
        k_d = d * (k - 1) + 1
        yield (n + 2 * p - k_d) // s + 1, output_size([Layer(k, s, p, d)], n)


def _ceil() -> Pairs:
    for (k, s, p, d), n in product(_layers((2, 3)), (13, 14, 224)):
        k_d = d * (k - 1) + 1
        m = math.ceil((n + 2 * p - k_d) / s) + 1
        if (m - 1) * s >= n + p:
            m -= 1
        yield m, output_size([Layer(k, s, p, d, kind="pool", ceil=True)], n)


def _transposed() -> Pairs:
    for (k, s, p, d), n in product(_layers((3, 4, 7)), (2, 13)):
        k_d = d * (k - 1) + 1
        yield s * (n - 1) + k_d - 2 * p, output_size([Layer(k, s, p, d, kind="deconv")], n)
    for s, n in product((2, 8, 32), (1, 2, 16)):
        yield s * (n + 1), output_size([_up(s)], n)


def _field() -> Pairs:
    layers = [*_layers()]
    for i in range(len(layers) - 3):
        r, c, j = 1, Fraction(0), 1
        for k, s, p, d in layers[i : i + 4]:
            r = r + d * (k - 1) * j
            c = c + (Fraction(d * (k - 1), 2) - p) * j
            j = s * j
        yield (r, j, c), tuple(receptive_field([Layer(*numbers) for numbers in layers[i : i + 4]]))


def _place() -> Pairs:
    for (k, s, p, d), out in product(_layers(), (0, 5)):
        scale, offset = coordinate_map([Layer(k, s, p, d)])
        yield s * out + Fraction(d * (k - 1), 2) - p, scale * out + offset


def _place_up() -> Pairs:
    for (k, s, p, d), out in product(_layers(), (0, 5)):
        scale, offset = coordinate_map([Layer(k, s, p, d, kind="deconv")])
        yield (out - Fraction(d * (k - 1), 2) + p) / s, scale * out + offset


# ---- Back to the size of the image ---------------------------------------------------------------


def _kernel() -> Pairs:
    for s in (1, 2, 3, 4, 8, 32):
        k = 2 * s - s % 2
        f = (k + 1) // 2
        middle = (k - 1) / 2
        w = [1 - abs(a - middle) / f for a in range(k)]
        yield [[one * other for other in w] for one in w], upsampling.bilinear_kernel(s).tolist()


def _published(padding: int = 100) -> tuple[list[Layer], list[Layer], list[Layer]]:
    """VGG16 as published: its layers up to pool3, to pool4 and to the scores."""
    three, pool = Layer(3, padding=1), Layer(2, 2, kind="pool", ceil=True)
    pool3 = [Layer(3, padding=padding), three, pool, three, three, pool, *[three] * 3, pool]
    pool4 = [*pool3, *[three] * 3, pool]
    return pool3, pool4, [*pool4, *[three] * 3, pool, Layer(7), Layer(1), Layer(1)]


def _pairs_of_maps(padding: int = 100) -> dict[str, list[tuple[list[Layer], list[Layer]]]]:
    """By network, the maps that are cropped, each with the one that it is cropped to."""
    pool3, pool4, score = _published(padding)
    two = [*score, _up(2)]
    four = [*two, _up(2)]
    return {
        "FCN-32s": [([*score, _up(32)], [])],
        "FCN-16s": [(pool4, two), ([*two, _up(16)], [])],
        "FCN-8s": [(pool4, two), (pool3, four), ([*four, _up(8)], [])],
    }


def crops() -> dict[str, list[int]]:
    """The crops of the published networks, in the order in which they are cut."""
    return {net: [crop_offset(*pair) for pair in pairs] for net, pairs in _pairs_of_maps().items()}


def _crop() -> Pairs:
    for pairs in _pairs_of_maps().values():
        for path, reference in pairs:
            (s, c_path), (_, c_reference) = coordinate_map(path), coordinate_map(reference)
            yield (c_reference - c_path) / s, crop_offset(path, reference)


def _published_crops() -> Pairs:
    """What the authors' net.py says."""
    typed = {"FCN-32s": [19], "FCN-16s": [5, 27], "FCN-8s": [5, 9, 31]}
    for net, offsets in typed.items():
        yield offsets, crops()[net]


def _crop_of_padding() -> Pairs:
    for p in (1, 81, 97, 100, 132):
        (pair,) = _pairs_of_maps(p)["FCN-32s"]
        yield p - 81, crop_offset(*pair)


def _enough() -> Pairs:
    for n in (1, 32, 33, 34, 40, 64, 375, 500):
        p = next(p for p in range(200) if p >= 81 and n + 2 * p >= 195)
        yield p, minimum_padding(_pairs_of_maps()["FCN-32s"], [n])


def _fusion() -> Pairs:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = FCN("tiny", 3, stride=8).eval().double()
        coarse, middle, fine = (
            cast(nn.Conv2d, getattr(net, f"score_{name}")) for name in ("fr", "pool4", "pool3")
        )
        for layer in (coarse, middle, fine):
            nn.init.normal_(layer.weight)  # they start at zero
        image = torch.randn(1, 3, 64, 96, dtype=torch.float64)

    def doubled(scores: Tensor) -> Tensor:
        return functional.interpolate(scores, scale_factor=2, mode="bilinear")

    with torch.no_grad():
        x = net.backbone(image)
        z_32 = coarse(x[32])
        z_16 = middle(x[16]) + doubled(z_32)
        z_8 = fine(x[8]) + doubled(z_16)
        yield z_8.flatten().tolist(), net.fused_scores(image).flatten().tolist()


# ---- Training and measuring ----------------------------------------------------------------------

_SCORES = [[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0], [0.3, 0.2, 0.1]]
_LABELS = [[0, 1, 1, 2], [2, 255, 255, 0], [255, 255, 1, 255]]
_COUNTS = [[100, 10, 1], [7, 7, 7, 7], [5, 400, 90, 33, 2]]


def _loss() -> Pairs:
    scores = torch.tensor(_SCORES, dtype=torch.float64).T.reshape(1, 3, 2, 2)
    for labels in _LABELS:
        valid = [(z, t) for z, t in zip(_SCORES, labels, strict=True) if t != 255]
        total = sum(-z[t] + math.log(sum(math.exp(z_j) for z_j in z)) for z, t in valid)
        target = torch.tensor(labels).reshape(1, 2, 2)
        yield total / len(valid), losses.pixel_cross_entropy(scores, target).item()


def _median() -> Pairs:
    for counts in _COUNTS:
        shares = [count / sum(counts) for count in counts]
        weights = [statistics.median(shares) / share for share in shares]
        yield weights, losses.median_frequency_weights(counts).tolist()


def _power() -> Pairs:
    for counts, (a, rule) in product(_COUNTS, ((1.0, "inverse"), (0.5, "inverse_sqrt"))):
        shares = [count / sum(counts) for count in counts]
        whole = sum(share ** (1 - a) for share in shares)
        weights = [share**-a / whole for share in shares]
        yield weights, losses.frequency_weights(counts, rule).tolist()  # type: ignore[arg-type]


def _shift() -> Pairs:
    """At the shifted scores the weighted loss of labels drawn by p is least: its gradient is 0."""
    for p, w in (([0.7, 0.2, 0.1], [1.0, 3.0, 9.0]), ([0.5, 0.25, 0.25], [0.2, 1.0, 4.0])):
        z = [math.log(p_k) + math.log(w_k) for p_k, w_k in zip(p, w, strict=True)]
        scores = torch.tensor(z, dtype=torch.float64).reshape(1, 3, 1, 1).requires_grad_()
        loss = sum(
            p_k * losses.pixel_cross_entropy(
                scores, torch.tensor([[[k]]]), weight=torch.tensor(w), reduction="sum"
            )
            for k, p_k in enumerate(p)
        )  # fmt: skip
        (gradient,) = torch.autograd.grad(torch.as_tensor(loss), scores)
        yield [0.0, 0.0, 0.0], gradient.flatten().tolist()


def _four() -> Pairs:
    for n in ([[7, 1], [2, 10]], [[50, 3, 0], [4, 20, 6], [1, 0, 9]]):
        classes = range(len(n))
        t = [sum(n[i]) for i in classes]
        iu = [n[i][i] / (t[i] + sum(n[j][i] for j in classes) - n[i][i]) for i in classes]
        formulas = (
            sum(n[i][i] for i in classes) / sum(t),
            sum(n[i][i] / t[i] for i in classes) / len(n),
            sum(iu) / len(n),
            sum(t[i] * iu[i] for i in classes) / sum(t),
        )
        found = metrics.score(torch.tensor(n))
        yield formulas, (found.pixel_accuracy, found.mean_accuracy, found.mean_iu, found.fw_iu)


def _poly() -> Pairs:
    for s, w, q in product((0.0, 0.05, 0.5, 0.99), (0.02, 0.1), (0.9, 2.0)):
        spec = Optimiser("sgd", lr=1.0, schedule="poly", warmup=w, power=q)
        yield min(1, 0.01 + s / w) * (1 - s) ** q, rate(spec, s)


def _offsets(net: str) -> str:
    return ", ".join(map(str, crops()[net]))


def sections() -> dict[str, list[Row]]:
    """The lines of the sheet, by the title above them."""
    return {
        "Sizes and places": [
            Row("size after a convolution, or a pool that rounds down",
                r"$n' = \left\lfloor \dfrac{n + 2p - k_d}{s} \right\rfloor + 1$, "
                r"$k_d = d(k - 1) + 1$",
                ("1.6",), "geometry.output_size", _convolution),
            Row("size after a pool that rounds up",
                r"$m = \left\lceil \dfrac{n + 2p - k_d}{s} \right\rceil + 1$, "
                r"less 1 if $(m - 1)\,s \ge n + p$",
                ("2.6",), "geometry.output_size", _ceil),
            Row("size after a transposed convolution",
                r"$m = s(n - 1) + k_d - 2p$, which is $s(n + 1)$ for $k_d = 2s$, $p = 0$",
                ("6.7",), "geometry.output_size", _transposed),
            Row("receptive field $r$, centre $c$ of output 0, stride $J$; layer by layer from "
                "1, 0, 1",
                r"$r \leftarrow r + d(k - 1)J$, then "
                r"$c \leftarrow c + \big(\tfrac{d(k - 1)}{2} - p\big)J$, then $J \leftarrow sJ$",
                ("2.7",), "geometry.receptive_field", _field),
            Row("place of an output",
                r"$\text{in} = s \cdot \text{out} + \tfrac{d(k - 1)}{2} - p$",
                ("8.2",), "geometry.coordinate_map", _place),
            Row("place after a transposed convolution",
                r"$\text{in} = \big(\text{out} - \tfrac{d(k - 1)}{2} + p\big) \big/ s$",
                ("8.4",), "geometry.coordinate_map", _place_up),
        ],
        "Back to the size of the image": [
            Row("bilinear kernel, $w[a]\\,w[b]$",
                r"$w[a] = 1 - \dfrac{\lvert a - (k - 1)/2 \rvert}{f}$, $k = 2s - (s \bmod 2)$, "
                r"$f = \lfloor (k + 1)/2 \rfloor$",
                ("7.3",), "upsampling.bilinear_kernel", _kernel),
            Row("crop that aligns two maps of scale $s$",
                r"$(c_\text{reference} - c_\text{path}) / s$",
                ("8.5",), "geometry.crop_offset", _crop),
            Row("crops as published; of pool4, of pool3, and the last",
                "; ".join(f"{net}: {_offsets(net)}" for net in crops()),
                ("8.5", "8.6"), "geometry.crop_offset", _published_crops),
            Row("crop of FCN-32s for padding $p$",
                rf"$p - 81$, hence {_offsets('FCN-32s')} for 100", ("8.7",),
                "geometry.crop_offset", _crop_of_padding),
            Row("enough padding of FCN-32s for $n$ pixels", r"$p \ge 81$ and $n + 2p \ge 195$",
                ("8.8",), "geometry.minimum_padding", _enough),
            Row("skip fusion; $U$ enlarges by 2",
                r"$z_{32} = W_{32}\,x_{32}$, $z_{16} = W_{16}\,x_{16} + U z_{32}$, "
                r"$z_8 = W_8\,x_8 + U z_{16}$",
                ("11.1",), "models.FCN", _fusion),
        ],
        "Training and measuring": [
            Row("cross-entropy over the pixels $V$ that are not void",
                r"$L = \dfrac{1}{\lvert V \rvert} \sum_{i \in V} \ell_i$, "
                r"$\ell = -z_t + \log \sum_j e^{z_j}$",
                ("9.2", "9.5"), "losses.pixel_cross_entropy", _loss),
            Row("what class weights $w_k$ do to the scores",
                r"the best ones become $z_k + \log w_k$, up to a constant",
                ("9.12",), "losses.pixel_cross_entropy", _shift),
            Row("weights by median frequency, of shares $\\pi_k$ of all pixels",
                r"$w_k = \operatorname{median}(\pi) / \pi_k$",
                ("9.12",), "losses.median_frequency_weights", _median),
            Row("weights by a power; $a = 1$ inverse, $a = \\tfrac12$ its root",
                r"$w_k = \pi_k^{-a} \big/ \sum_j \pi_j^{1 - a}$",
                ("9.12",), "losses.frequency_weights", _power),
            Row("pixel accuracy", r"$\sum_i n_{ii} \big/ \sum_i t_i$, $t_i = \sum_j n_{ij}$",
                ("10.3",), "metrics.score", _four),
            Row("mean accuracy", r"$\tfrac1C \sum_i n_{ii} / t_i$",
                ("10.3",), "metrics.score", _four),
            Row("mean IU",
                r"$\tfrac1C \sum_i \mathrm{IU}_i$, "
                r"$\mathrm{IU}_i = n_{ii} \big/ \big(t_i + \sum_j n_{ji} - n_{ii}\big)$",
                ("10.3",), "metrics.score", _four),
            Row("frequency-weighted IU", r"$\sum_i t_i\,\mathrm{IU}_i \big/ \sum_i t_i$",
                ("10.3",), "metrics.score", _four),
            Row("schedule `poly`; share $s$ of the run, warm-up $w$, power $q$",
                r"$\eta_0 \min\big(1,\, 0.01 + \tfrac{s}{w}\big)(1 - s)^q$",
                ("12.1",), "training.optimisation.rate", _poly),
        ],
    }  # fmt: skip


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for title, rows in sections().items():
        lines += [f"## {title}", ""]
        for row in rows:
            where = ", ".join(f"({number})" for number in row.equations)
            name = row.name[0].upper() + row.name[1:]
            lines.append(f"- {name}: {where}, `{row.function}`\\\n  {row.formula}")
        lines.append("")
    terms = glossary.read_terms(PAGE.parent / "glossary.md")
    return glossary.with_links("\n".join(lines).rstrip() + "\n", terms)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
