"""What a training that is refused on a machine names of it, is not published."""

import platform
from collections.abc import Callable
from dataclasses import replace

import pytest

from analysis.publishing.neutral import Neutralizer, find_words
from fcos.data.prepare import check_digest
from fcos.errors import DataChanged
from orchestration.config.compose import compose
from orchestration.experiment.provenance import ProvenanceDiffers, check_provenance, current_provenance


def refuse_data() -> None:
    check_digest(compose([]).training.data, "a" * 64, "b" * 64)


def refuse_versions() -> None:
    planned = current_provenance()
    check_provenance(replace(planned, versions={**planned.versions, "torch": "0.1"}))


def refuse_code() -> None:
    check_provenance(replace(current_provenance(), code="0" * 64))


@pytest.mark.parametrize("refuse", [refuse_data, refuse_versions, refuse_code])
def test_the_machine_of_a_refused_training_is_not_named(
    monkeypatch: pytest.MonkeyPatch, refuse: Callable[[], None]
) -> None:
    monkeypatch.setattr(platform, "node", lambda: "turing.lab.example")
    with pytest.raises((DataChanged, ProvenanceDiffers), match=r"on turing\.lab\.example ") as caught:
        refuse()
    message = str(caught.value)
    neutral = Neutralizer(find_words([], [{"fcos.failure": message}], []))
    assert neutral.clean_text(message) == message.replace("turing.lab.example", "<node>")
