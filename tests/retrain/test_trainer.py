import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from errata.errors import SettingsError
from retrain.trainer import Trainer, choose_device, load_trainer


class Tiny:
    def train(self, *arguments: Any, **named: Any) -> None: ...

    def load(self, directory: Path, device: torch.device) -> Any: ...


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_model_of_a_test.py").write_text(
        "class Tiny:\n    def train(self): ...\n    def load(self): ...\ntrainer = Tiny()\nnumber = 3\n"
    )
    (tmp_path / "a_broken_model_of_a_test.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_model_of_a_test", raising=False)
    return "a_model_of_a_test"


def test_a_trainer_is_found_by_module_and_attribute(module: str) -> None:
    assert isinstance(load_trainer(f"{module}:trainer"), Trainer)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("", "write package.module:attribute"),
        ("a_model_of_a_test", "write package.module:attribute"),
        ("a_model_of_a_test:", "write package.module:attribute"),
        (":trainer", "write package.module:attribute"),
        ("no_such_module_at_all:trainer", "no module no_such_module_at_all"),
        ("a_broken_model_of_a_test:trainer", "no module a_module_that_nobody_has"),
        ("a_model_of_a_test:trianer", "no attribute trianer"),
        ("a_model_of_a_test:Tiny", "is a class: name an object"),
        ("a_model_of_a_test:number", "must have the methods train and load"),
    ],
)
@pytest.mark.usefixtures("module")
def test_a_wrong_name_is_answered_with_the_fix(name: str, fix: str) -> None:
    with pytest.raises(SettingsError, match=fix):
        load_trainer(name)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_fastest_device_there_is(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    assert choose_device("auto").type == chosen


def test_a_second_gpu_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(SettingsError, match="sees 2 CUDA devices"):
        choose_device("cuda:2")


def test_a_device_that_is_absent_is_refused_and_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    with pytest.raises(SettingsError, match="check the driver"):
        choose_device("cuda")
    with pytest.raises(SettingsError, match="no Apple GPU"):
        choose_device("mps")


@pytest.mark.parametrize("wanted", ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cpu:0"])
def test_an_unknown_device_is_answered_with_the_known_ones(wanted: str) -> None:
    with pytest.raises(SettingsError, match="use auto, cpu, cuda, cuda:N or mps"):
        choose_device(wanted)
