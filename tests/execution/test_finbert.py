"""FinBert: a small model of its form, run by the real runtime; FinBERT's own weights are not part of the tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from headrace.errors import MissingExtraError, OptionError
from headrace.execution import Store
from headrace.execution.pipeline import Pipeline, PipelineSettings
from headrace.execution.pipeline.finbert import FinBert, WordPieces

# FinBERT's labels, in FinBERT's order.
LABELS = ("positive", "negative", "neutral")
VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "profit",
    "##s",
    "surge",
    "loss",
    "##es",
    "the",
    ".",
    "caf",
    "##e",
    "株",
]
WEIGHTS = {"profit": (2, 0, 0), "surge": (3, 0, 0), "loss": (0, 4, 0), "[CLS]": (0, 0, 1)}


def model(folder: Path, *, inputs: tuple[str, ...] = ("input_ids", "attention_mask", "token_type_ids")) -> Path:
    """Write a classifier that adds up a weight for each piece, with the inputs of BERT."""
    table = np.zeros((len(VOCABULARY), 3), np.float32)
    for piece, weights in WEIGHTS.items():
        table[VOCABULARY.index(piece)] = weights
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["each"]),
        helper.make_node("ReduceSum", ["each", "axis"], ["logits"], keepdims=0),
    ]
    shape = ["batch", "pieces"]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1], np.int64), "axis")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    folder.mkdir(exist_ok=True)
    onnx.save(made, str(folder / "model.onnx"))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    config = {"id2label": dict(enumerate(LABELS)), "max_position_embeddings": 16}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model(tmp_path / "model")


@pytest.mark.parametrize(
    ("text", "label"), [("Profits surge.", "positive"), ("The LOSSES", "negative"), ("the", "neutral"), ("", "neutral")]
)
def test_a_text_has_the_label_of_the_highest_logit(folder: Path, text: str, label: str) -> None:
    found = FinBert(folder).classify(text)
    assert found.label == label
    assert 1 / 3 < found.score <= 1


def test_the_score_is_the_probability_of_the_label(folder: Path) -> None:
    logits = np.array([2.0, 0.0, 1.0])
    expected = float(np.exp(2.0) / np.exp(logits).sum())
    assert FinBert(folder).classify("profit").score == pytest.approx(expected, abs=1e-4)


def test_a_model_that_takes_fewer_inputs_gets_those(tmp_path: Path) -> None:
    alone = model(tmp_path / "alone", inputs=("input_ids",))
    assert FinBert(alone).classify("loss").label == "negative"


def test_a_text_longer_than_the_model_takes_is_cut_at_its_end(folder: Path) -> None:
    classifier = FinBert(folder)
    assert classifier.classify("the " * 13 + "profit surge").label == "positive"
    assert classifier.classify("the " * 14 + "profit surge").label == "neutral"


def test_words_are_split_as_berts_tokenizer_does() -> None:
    numbers = WordPieces(VOCABULARY).numbers("Profits, CAFÉ\t株株 the.surge losss\u200b" + " x" * 101, 12)
    pieces = [VOCABULARY[number] for number in numbers]
    assert pieces == ["[CLS]", "profit", "##s", "[UNK]", "caf", "##e", "株", "株", "the", ".", "surge", "[SEP]"]
    assert [VOCABULARY[n] for n in WordPieces(VOCABULARY).numbers("losss " + "a" * 101, 9)] == [
        "[CLS]",
        "loss",
        "##s",
        "[UNK]",
        "[SEP]",
    ]


def other_labels(folder: Path) -> None:
    (folder / "config.json").write_text('{"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}')


def no_vocabulary(folder: Path) -> None:
    (folder / "vocab.txt").unlink()


def other_vocabulary(folder: Path) -> None:
    (folder / "vocab.txt").write_text("a\nb\n")


def no_model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a model")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (other_labels, "it needs negative, neutral, positive"),
        (no_vocabulary, "it needs model.onnx, vocab.txt and config.json"),
        (other_vocabulary, r"has no \[UNK\]"),
        (no_model, "no model that ONNX Runtime reads"),
    ],
)
def test_a_folder_without_a_fitting_model_is_an_error(folder: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(folder)
    with pytest.raises(OptionError, match=said):
        FinBert(folder)


def test_without_its_runtime_the_error_names_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r'pip install "headrace\[finbert\]"'):
        FinBert(folder)


def test_the_pipeline_classifies_news_by_the_model_of_its_settings(store: Store, folder: Path, tmp_path: Path) -> None:
    news = tmp_path / "news.xml"
    news.write_text("<rss version='2.0'><channel><item><guid>1</guid><title>AAPL loss</title></item></channel></rss>")
    settings = PipelineSettings(tickers=("AAPL",), news=(str(news),), finbert_model=str(folder))
    results: dict[str, Any] = {own.step: own for own in Pipeline(store, settings, steps=["news"]).run()}
    assert results["news"].error is None
    assert store.query("SELECT sentiment, classifier FROM inbound_events_classified") == [("negative", "finbert")]
