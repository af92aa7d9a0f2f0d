"""What generated tasks are made of: documents, and the metrics, filters and task classes of a user."""

import functools
from typing import Any

import datasets
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.filters import build_filter_ensemble


WORDS = ["red pens", "two", "Blue ink", "a", "7 pencils", "it is 3.5"]
CHOICES = ["alpha", "Beta", "7"]


def document(number: int) -> dict[str, Any]:
    return {
        "question": f"Which {number} pens?" + " Really?" * (number % 3),
        "text_answer": WORDS[number % len(WORDS)],
        "number": 3 * number - 2,
        "real": number + 0.5,
        "several": [WORDS[number % len(WORDS)], str(number), "ink"][: 1 + number % 3],
        "label": number % len(CHOICES),
        "choices": CHOICES,
    }


@functools.cache
def made() -> dict[str, datasets.Dataset]:
    return {
        "test": datasets.Dataset.from_list([document(n) for n in range(5)]),
        "few": datasets.Dataset.from_list([document(n) for n in range(1, 3)]),
        "train": datasets.Dataset.from_list([document(n) for n in range(7, 10)]),
    }


def documents(**kwargs: Any) -> dict[str, datasets.Dataset]:
    return dict(made())


def plain_texts(found: Any) -> Any:
    """What a user's code sees must be strings and nothing derived from them."""
    for one in found if isinstance(found, (list, tuple)) else [found]:
        if isinstance(one, (list, tuple)):
            plain_texts(one)
        else:
            assert type(one) in (str, int, type(None)), type(one)
    return found


def first_text(result: Any) -> str:
    return str(result[0] if isinstance(result, (list, tuple)) else result)


# Metrics


def overlap(references: list[Any], predictions: list[Any], **kwargs: Any) -> float:
    """A user's metric: a number."""
    gold, text = set(str(references[0]).lower().split()), first_text(plain_texts(predictions)[0]).lower().split()
    return len(gold & set(text)) / max(1, len(gold))


def lengths(references: list[Any], predictions: list[Any], **kwargs: Any) -> dict[str, float]:
    """A user's metric: several numbers under names of their own, one of which is a count's too."""
    size = len(first_text(plain_texts(predictions)[0]))
    return {"characters": float(size), "tokens": size / 4, "empty": float(size == 0)}


def largest(items: list[float]) -> float:
    return max(items)


def process(doc: dict[str, Any], results: list[Any]) -> dict[str, Any]:
    """A task's own scores, two of them only meaningful for all documents together."""
    text = first_text(plain_texts(results)[0])
    return {"hit": float(doc["text_answer"] in text), "pair": (doc["text_answer"], text), "nfe": len(text)}


def process_by_kind(doc: dict[str, Any], results: list[Any]) -> dict[str, Any]:
    """Scores by category, so that documents differ in the names of their scores, one of which is a count's too."""
    hit = float(doc["text_answer"] in first_text(plain_texts(results)[0]))
    kinds = [{"hit": hit, "small": hit}, {"hit": hit}, {"large": hit, "truncated": 7.0}, {}, {"small": 1 - hit}]
    return kinds[doc["number"] % len(kinds)]


def share_of_equal_pairs(items: list[tuple[str, str]]) -> float:
    return sum(a == b for a, b in items) / len(items)


def process_scores(doc: dict[str, Any], results: list[Any]) -> dict[str, Any]:
    """A task's own scores of likelihoods, one of which is a count's too."""
    values = [result[0] if isinstance(result, tuple) else result for result in results]
    assert all(type(value) is float for value in values)
    return {"best": float(max(values)), "nfe": len(values)}


# Filters


def reverse_words(resps: list[list[str]], docs: list[Any]) -> list[list[str]]:
    assert len(resps) == len(docs)
    return [[" ".join(reversed(plain_texts(text).split())) for text in texts] for texts in resps]


# Task classes


class OwnResults(ConfigurableTask):
    def __init__(self, config: Any = None, **kwargs: Any) -> None:
        super().__init__(config={k: v for k, v in config.items() if k != "class"}, **kwargs)

    def process_results(self, doc: Any, results: Any) -> dict[str, Any]:
        return {**super().process_results(doc, results), "early_exit": len(first_text(plain_texts(results)[0]))}


class OwnFilters(OwnResults):
    __slots__ = ("num_applied",)

    def apply_filters(self) -> Any:
        self.num_applied = 1
        for instance in self.instances:
            assert len(instance.resps) == instance.repeats
            instance.resps = [plain_texts(text).strip() for text in instance.resps]
        return super().apply_filters()

    def process_results(self, doc: Any, results: Any) -> dict[str, Any]:
        return {**ConfigurableTask.process_results(self, doc, results), "applied": self.num_applied}


class OwnAggregation(OwnResults):
    def process_results(self, doc: Any, results: Any) -> dict[str, Any]:
        return {"nfe": float(len(first_text(results[0]))), "share": (doc["text_answer"], first_text(results[0]))}

    def aggregation(self) -> dict[str, Any]:
        return {"nfe": largest, "share": share_of_equal_pairs}

    def higher_is_better(self) -> dict[str, Any]:
        return {"nfe": True, "share": True}


class TwoRequests(OwnResults):
    """Asks twice about each document."""

    def construct_requests(self, doc: Any, ctx: Any, **kwargs: Any) -> Any:
        first = super().construct_requests(doc, ctx, **kwargs)
        context, options = first.arguments
        second = Instance("generate_until", doc, (f"{context} Again:", options), 1, first.metadata)
        return [second, first]

    def process_results(self, doc: Any, results: Any) -> dict[str, Any]:
        assert len(results) == 2
        first, second = map(first_text, plain_texts(results))
        return {"same": float(first == second), **super().process_results(doc, results)}


def parts(steps: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(step["function"], {name: step[name] for name in step if name != "function"}) for step in steps]


class OwnScores(OwnResults):
    """Of likelihoods, with a score that has a count's name."""

    def process_results(self, doc: Any, results: Any) -> dict[str, Any]:
        return {**ConfigurableTask.process_results(self, doc, results), "truncated": len(results)}


class AlsoText(OwnResults):
    """Has a text written beside the likelihoods that its output type asks for."""

    def construct_requests(self, doc: Any, ctx: Any, **kwargs: Any) -> Any:
        own = super().construct_requests(doc, ctx, **kwargs)
        own = own if isinstance(own, list) else [own]
        text = Instance("generate_until", doc, (f"On {doc['question']}", {"until": ["."]}), len(own), own[0].metadata)
        return [*own, text]

    def process_results(self, doc: Any, results: Any) -> dict[str, Any]:
        *own, text = results
        return {**ConfigurableTask.process_results(self, doc, own), "length": len(first_text(text))}


class Direct(Task):
    """Of the old kind: everything in Python, from `lm_eval.api.task.Task`."""

    VERSION = 2
    OUTPUT_TYPE = "generate_until"

    def __init__(self, config: Any) -> None:
        super().__init__(config={k: v for k, v in config.items() if k != "class"})
        if self.config.filter_list:
            self._filters = [build_filter_ensemble(f["name"], parts(f["filter"])) for f in self.config.filter_list]

    def download(self, *args: Any, **kwargs: Any) -> None:
        self.dataset = documents()

    def has_training_docs(self) -> bool:
        return True

    def has_validation_docs(self) -> bool:
        return False

    def has_test_docs(self) -> bool:
        return True

    def training_docs(self) -> Any:
        return self.dataset["train"]

    def test_docs(self) -> Any:
        return self.dataset["test"]

    def doc_to_text(self, doc: Any) -> str:
        return f"Q: {doc['question']}\nA:"

    def doc_to_target(self, doc: Any) -> str:
        return f" {doc['text_answer']}"

    def fewshot_context(self, doc: Any, num_fewshot: int, **kwargs: Any) -> str:
        shots = [self.doc_to_text(d) + self.doc_to_target(d) for d in self.training_docs().to_list()[:num_fewshot]]
        return "\n\n".join([*shots, self.doc_to_text(doc)])

    def construct_requests(self, doc: Any, ctx: str, **kwargs: Any) -> Instance:
        kwargs = {"metadata": kwargs["metadata"]}
        return Instance("generate_until", doc, (ctx, dict(self.config.generation_kwargs)), 0, **kwargs)

    def process_results(self, doc: Any, results: Any) -> dict[str, Any]:
        text = first_text(plain_texts(results)[0])
        return {"hit": float(doc["text_answer"] in text), "longest": len(text)}

    def aggregation(self) -> dict[str, Any]:
        return {"hit": mean, "longest": largest}

    def higher_is_better(self) -> dict[str, Any]:
        return {"hit": True}


TASK: dict[str, Any] = {
    "task": "pens",
    "custom_dataset": documents,
    "output_type": "generate_until",
    "test_split": "test",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "text_answer",
    "generation_kwargs": {"until": ["\n\n"], "do_sample": False},
}


def script(doc: Any, key: Any) -> tuple[str, int]:
    """Right answers at odd keys; and the passes that they took."""
    return doc["text_answer"] if key[1] % 2 else "two", 3 + key[1]
