"""Models of texts: shapes, sizes, what they may and may not look at, refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from bench.claims.checks.printed import TextCNNAsPrinted
from models.textcnn import TextCNN
from models.transformer import Transformer


def _size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _seeded(make: Any, *args: Any, **kwargs: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(*args, **kwargs)


def test_textcnn_has_kims_layers() -> None:
    model = TextCNN((37,), 6, 1000)
    assert model(torch.ones(3, 37, dtype=torch.int64)).shape == (3, 6)
    assert _size(model) == 1000 * 300 + 300 * 100 * (3 + 4 + 5) + 300 + 300 * 6 + 6 == 1000 * 300 + 360_300 + 1806


def test_textcnn_is_equation_2_of_the_paper_and_the_maximum_over_time() -> None:
    model = _seeded(TextCNN, (6,), 3, 20, dim=4, widths=[2, 3], filters=5).eval()
    text = torch.tensor([[7, 3, 9, 4, 0, 0]])
    embedded = model.embedding.weight[text[0]]
    features = []
    for convolution, width in zip(model.convolutions, (2, 3), strict=True):
        edge = torch.zeros(width - 1, 4)
        x = torch.cat([edge, embedded, edge])
        for weight, bias in zip(convolution.weight, convolution.bias, strict=True):
            c = [torch.relu((weight.T * x[i : i + width]).sum() + bias) for i in range(len(x) - width + 1)]
            features.append(torch.stack(c).max())
    wanted = model.linear.weight @ torch.stack(features) + model.linear.bias
    torch.testing.assert_close(model(text)[0], wanted)


def test_textcnn_sees_the_order_of_words_and_texts_shorter_than_its_filters() -> None:
    model = _seeded(TextCNN, (2,), 3, 20, dim=8, filters=6).eval()
    there, back = model(torch.tensor([[5, 6]])), model(torch.tensor([[6, 5]]))
    assert there.shape == (1, 3)
    assert not torch.allclose(there, back)


@pytest.mark.parametrize("kind", [TextCNN, TextCNNAsPrinted])
def test_padding_is_zero_stays_zero_and_more_of_it_changes_nothing(kind: Any) -> None:
    model = _seeded(kind, (12,), 3, 20, dim=8)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    before = model.embedding.weight.detach().clone()
    text = torch.tensor([[5, 6, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0]])
    functional.cross_entropy(model(text), torch.tensor([1])).backward()
    optimizer.step()
    changed = (model.embedding.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [1, 5, 6, 7]
    assert torch.equal(model.embedding.weight[0], torch.zeros(8))
    model.eval()
    torch.testing.assert_close(model(text), model(torch.cat([text, torch.zeros_like(text)], dim=1)))


def test_as_printed_is_two_linear_layers_on_the_mean_of_the_words() -> None:
    model = _seeded(TextCNNAsPrinted, (5,), 4, 1000)
    assert _size(model) == 1000 * 100 + 100 * 256 + 256 + 256 * 4 + 4
    text = torch.tensor([[5, 6, 8, 0, 0], [0, 0, 0, 0, 0]])
    mean = model.embedding.weight[[5, 6, 8]].mean(dim=0)
    outputs = model(text)
    torch.testing.assert_close(outputs[0], model.head(torch.relu(model.fc(mean))))
    torch.testing.assert_close(outputs[0], model(text[:, [2, 0, 1, 3, 4]])[0])
    torch.testing.assert_close(outputs[1], model.head(torch.relu(model.fc.bias)))  # a text of no words


@pytest.mark.parametrize("kind", [TextCNN, TextCNNAsPrinted, Transformer])
def test_images_are_no_texts(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"input_shape must be one length for \w+, got 1x8x8$"):
        kind((1, 8, 8), 10, 20)


@pytest.mark.parametrize(
    ("kind", "name", "value", "wanted"),
    [
        *[
            (TextCNN, name, value, "a whole number of at least 1")
            for name in ("dim", "filters")
            for value in (0, 1.5, True)
        ],
        *[
            (TextCNN, "widths", value, "a list of whole numbers of at least 1")
            for value in ([], [0], [3, True], 3, "x")
        ],
        *[
            (kind, "dropout", value, "a number from 0 to below 1")
            for kind in (TextCNN, Transformer)
            for value in (1, -0.1, math.nan, True, "x")
        ],
        *[
            (TextCNNAsPrinted, name, value, "a whole number of at least 1")
            for name in ("dim", "hidden")
            for value in (0, "x")
        ],
        *[
            (Transformer, name, value, "a whole number of at least 1")
            for name in ("layers", "width", "heads")
            for value in (0, -1, 2.0, True)
        ],
        (Transformer, "width", 130, "a multiple of heads=4"),
    ],
)
def test_options_out_of_range_are_refused(kind: Any, name: str, value: Any, wanted: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {wanted}, got ") as caught:
        kind((8,), 10, 20, **{name: value})
    assert str(value) in str(caught.value)


def test_transformer_has_the_size_that_its_docstring_names() -> None:
    model = Transformer((64,), 65, 65)
    a_block = 2 * 2 * 128 + (128 * 384 + 384) + (128 * 128 + 128) + (128 * 512 + 512) + (512 * 128 + 128)
    assert _size(model) == 65 * 128 + 64 * 128 + 4 * a_block + 2 * 128 + 128 * 65 == 818_176
    assert "818,176 parameters" in (Transformer.__doc__ or "")
    assert model(torch.zeros(2, 10, dtype=torch.int64)).shape == (2, 10, 65)


def test_transformer_starts_as_gpt2_does_and_near_the_uniform_prediction() -> None:
    model = _seeded(Transformer, (64,), 65, 65)
    for name, param in model.named_parameters():
        if "norm" in name:
            assert torch.equal(param, torch.full_like(param, float(name.endswith("weight"))))
        elif name.endswith("bias"):
            assert not param.any()
        else:
            wanted = 0.02 / math.sqrt(8) if "projection" in name else 0.02
            assert param.std().item() == pytest.approx(wanted, rel=0.05), name
    text = torch.arange(64).remainder(65).unsqueeze(0)
    assert functional.cross_entropy(model(text)[0], text[0]).item() == pytest.approx(math.log(65), abs=0.1)


def test_transformer_looks_at_all_that_came_before_and_at_nothing_that_follows() -> None:
    model = _seeded(Transformer, (12,), 9, 9, layers=2, width=16, heads=4)
    for param in model.parameters():
        torch.nn.init.normal_(param, std=0.3, generator=torch.Generator().manual_seed(param.numel()))
    text = torch.randint(0, 9, (1, 12), generator=torch.Generator().manual_seed(0))
    outputs = model(text)
    for place in range(12):
        other = text.clone()
        other[0, place] = (text[0, place] + 1) % 9
        difference = (model(other) - outputs).abs().amax(dim=(0, 2))
        assert (difference[:place] == 0).all()
        assert (difference[place:] > 1e-5).all()


def test_transformers_attention_is_the_papers_softmax() -> None:
    attention = _seeded(Transformer, (7,), 5, 5, layers=1, width=12, heads=3).blocks[0].attention
    x = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(1))
    query, key, value = (part.unflatten(-1, (3, 4)) for part in attention.query_key_value(x).split(12, dim=-1))
    scores = torch.einsum("nqhd,nkhd->nhqk", query, key) / 2  # sqrt(d) with d = 4
    scores = scores.masked_fill(torch.ones(7, 7).triu(1).bool(), -math.inf)
    wanted = attention.projection(torch.einsum("nhqk,nkhd->nqhd", scores.softmax(-1), value).flatten(-2))
    torch.testing.assert_close(attention(x), wanted)


def test_transformers_dropout_is_for_training_only() -> None:
    model = _seeded(Transformer, (8,), 5, 5, layers=1, width=8, heads=2, dropout=0.5)
    text = torch.zeros(1, 8, dtype=torch.int64)
    with torch.random.fork_rng():
        assert not torch.equal(model(text), model(text))
    model.eval()
    assert torch.equal(model(text), model(text))


def test_transformer_learns_to_recall_the_character_before() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Transformer((8,), 3, 3, layers=1, width=32, heads=2)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(100):
            text = torch.randint(0, 3, (32, 9))
            loss = functional.cross_entropy(model(text[:, 1:]).flatten(0, 1), text[:, :-1].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        text = torch.randint(0, 3, (32, 9))
    outputs = model(text[:, 1:])
    assert functional.cross_entropy(outputs[:, 1:].flatten(0, 1), text[:, 1:-1].flatten()).item() < 0.05
    assert functional.cross_entropy(outputs[:, 0], text[:, 0]).item() > 1  # what it cannot have seen
