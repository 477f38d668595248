"""FinBert: the sentiment of financial news by a BERT classifier in the ONNX format (``[finbert]``).

::

    FOLDER/model.onnx · vocab.txt · config.json        text ─▶ word pieces ─▶ logits ─▶ softmax ─▶ Sentiment

Guarantees: nothing is loaded from a network; a model whose labels are others than positive, neutral and negative is
refused when it is opened; a text longer than the model takes is cut at its end.
Does not: bring a model; one of ``ProsusAI/finbert`` is exported by
``optimum-cli export onnx --model ProsusAI/finbert --task text-classification FOLDER``.

Source: the public description of BERT's uncased tokenizer and of ONNX Runtime's Python API, read in November 2026.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import numpy as np

from headrace.errors import MissingExtraError, OptionError
from headrace.execution.pipeline.news import Label, Sentiment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FinBert", "WordPieces"]

LABELS = frozenset(get_args(Label))
UNKNOWN, BEGIN, END = "[UNK]", "[CLS]", "[SEP]"
# Of BERT's own tokenizer: a longer word is unknown.
WORD_MAX = 100


class WordPieces:
    """BERT's uncased tokenizer. vocabulary : its pieces, each at its number; one inside of a word begins with ##."""

    def __init__(self, vocabulary: list[str]) -> None:
        self._numbers = {piece: number for number, piece in enumerate(vocabulary)}
        for piece in (UNKNOWN, BEGIN, END):
            if piece not in self._numbers:
                msg = f"vocab.txt has no {piece}: it is no vocabulary of BERT"
                raise OptionError(msg, option="finbert_model")

    def numbers(self, text: str, most: int) -> list[int]:
        """Return the numbers of a text's pieces, between those of its begin and its end; at most so many."""
        found = [piece for word in _words(text) for piece in self._pieces(word)][: most - 2]
        return [self._numbers[piece] for piece in (BEGIN, *found, END)]

    def _pieces(self, word: str) -> list[str]:
        """Return the longest known pieces of a word from its begin; one unknown piece makes the word unknown."""
        if len(word) > WORD_MAX:
            return [UNKNOWN]
        found, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self._numbers), None)
            if end is None:
                return [UNKNOWN]
            found.append(prefix + word[start:end])
            start = end
        return found


class FinBert:
    """A classifier of news. folder : of the model. Raises OptionError, MissingExtraError without onnxruntime."""

    name = "finbert"

    def __init__(self, folder: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            msg = 'a FinBERT model needs onnxruntime: pip install "headrace[finbert]"'
            raise MissingExtraError(msg) from None
        try:
            config: dict[str, Any] = msgspec.json.decode((folder / "config.json").read_bytes())
            vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
            model = (folder / "model.onnx").read_bytes()
        except (OSError, ValueError) as error:
            msg = f"finbert_model={folder} cannot be read ({error}): it needs model.onnx, vocab.txt and config.json"
            raise OptionError(msg, option="finbert_model") from error
        self._labels = _labels(folder, config)
        self._most = int(config.get("max_position_embeddings", 512))
        self._pieces = WordPieces(vocabulary)
        options = onnxruntime.SessionOptions()
        # A worker of the pipeline has one processor; the runtime's own threads would take all.
        options.intra_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            msg = f"finbert_model={folder}: model.onnx is no model that ONNX Runtime reads: {str(error)[:200]}"
            raise OptionError(msg, option="finbert_model") from error
        self._inputs = {own.name for own in self._session.get_inputs()}

    def classify(self, text: str) -> Sentiment:
        """Return the likeliest label, with its probability as score."""
        numbers = np.array([self._pieces.numbers(text, self._most)], np.int64)
        given = {
            "input_ids": numbers,
            "attention_mask": np.ones_like(numbers),
            "token_type_ids": np.zeros_like(numbers),
        }
        [logits, *_] = self._session.run(None, {name: given[name] for name in given if name in self._inputs})
        powers = np.exp(logits[0] - logits[0].max())
        best = int(powers.argmax())
        return Sentiment(self._labels[best], round(float(powers[best] / powers.sum()), 4))


def _labels(folder: Path, config: dict[str, Any]) -> list[Label]:
    """Return the label of each output. Raises OptionError."""
    named = {int(number): str(label).lower() for number, label in dict(config.get("id2label", {})).items()}
    labels = [named.get(number, "") for number in range(len(named))]
    if set(labels) != LABELS:
        msg = f"finbert_model={folder}: config.json has the labels {named}; it needs {', '.join(sorted(LABELS))}"
        raise OptionError(msg, option="finbert_model")
    return labels  # type: ignore[return-value]  # each is one of LABELS


def _words(text: str) -> Iterator[str]:
    """Yield the words of a text: lower case, without accents; each sign of punctuation and each CJK character alone."""
    word = ""
    for char in unicodedata.normalize("NFD", text.lower()):
        kind = unicodedata.category(char)
        if kind == "Mn" or (kind[0] == "C" and char not in "\t\n\r"):
            continue
        if char.isspace() or _stands_alone(char, kind):
            if word:
                yield word
            word = ""
            if not char.isspace():
                yield char
        else:
            word += char
    if word:
        yield word


def _stands_alone(char: str, kind: str) -> bool:
    is_sign = kind[0] == "P" or (char.isascii() and not char.isalnum() and not char.isspace())
    return is_sign or 0x4E00 <= ord(char) <= 0x9FFF or 0x3400 <= ord(char) <= 0x4DBF or 0xF900 <= ord(char) <= 0xFAFF
