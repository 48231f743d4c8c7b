import pytest


def score(value, *, half=0.01):
    return {"value": value, "low": value - half, "high": value + half}


@pytest.fixture
def make_record():
    """A record as a stage writes it; every number is an argument or a constant that one can look up here."""

    def make(name, *, stage="finetune", seed=1, size=90_900_000, accuracy=0.9, seconds=0.008, teacher=None, **settings):
        return {
            "stage": stage,
            "version": 1,
            "address": f"{stage}-{name.replace(' ', '')}-{seed}" + "".join(map(str, settings.values())),
            "name": name,
            "task": {"name": "docs", "source": "here", "labels": ["a", "b"], "rows": {"train": 9}, "notes": ["cut"]},
            "settings": {"seed": seed, "task": "docs", **settings},
            "inputs": {"teacher": teacher} if teacher else {},
            "metrics": {
                "dev": {
                    "n": 1234,
                    "headline": "accuracy",
                    "scores": {"accuracy": score(accuracy), "macro_f1": score(accuracy - 0.05)},
                    "details": {
                        "per_class": {
                            "a": {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 1000},
                            "b": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 234},
                        },
                        "confusion": [[250, 750], [0, 234]],
                        "calibration_error": 0.125,
                    },
                }
            },
            "curves": {
                "step": [1, 2, 3, 4],
                "loss": [2.0, 1.0, 0.5, 0.4],
                "learning_rate": [0.1] * 4,
                "epochs": [
                    {"epoch": 1, "step": 2, "train": {"loss": 1.5, "accuracy": 0.6}, "select": {"accuracy": 0.5}},
                    {"epoch": 2, "step": 4, "train": {"loss": 0.5, "accuracy": 0.8}, "select": {"accuracy": 0.7}},
                ],
            },
            "best": {"epoch": 2, "metric": "accuracy", "value": 0.7},
            "latency": {"unit": "s", "values": [seconds] * 5, "threads": 1, "batch": 1, "device": "cpu"},
            "seconds": {"train": 61.0},
            "peak_memory_bytes": 10**9,
            "parameters": size // 4,
            "bytes": size,
            "environment": {"machine": "mill", "cores": 2},
        }

    return make


@pytest.fixture
def family(make_record):
    """A teacher and two students of it."""
    teacher = make_record("minilm")
    return [
        make_record("bag 25d", stage="distill", size=900_000, accuracy=0.8, seconds=1e-4, teacher=teacher["address"]),
        teacher,
        make_record(
            "bilstm 25d", stage="distill", size=1_200_000, accuracy=0.85, seconds=1e-3, teacher=teacher["address"]
        ),
    ]


@pytest.fixture
def label_record(family):
    """The record of a stage that scores nothing."""
    return {key: family[1][key] for key in ("version", "task", "settings")} | {
        "stage": "label",
        "address": "label-1",
        "name": "minilm",
        "inputs": {"teacher": family[1]["address"]},
    }
