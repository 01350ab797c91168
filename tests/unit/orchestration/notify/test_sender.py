"""Messages are sent to a real service on loopback, in time or not at all; no part of an address is ever shown."""

import importlib.util
import time
from collections.abc import Iterator

import pytest

from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import NotifyConfig
from orchestration.notify.sender import Message, Sender, check_notification
from tests.helpers.processes.ports import free_port
from tests.helpers.servers.webhook import Webhook, serving

pytestmark = pytest.mark.ray
VARIABLE, SECRET = "FCOS_TEST_NOTIFY_URLS", "s3cret-token"
MESSAGE = Message(kind="success", title="shapes: finished", body="12 trainings: 12 done\nhigher than none")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with serving() as made:
        monkeypatch.setenv(VARIABLE, made.address(SECRET))
        yield made


def test_a_message_arrives_with_title_text_and_kind(hook: Webhook) -> None:
    check_notification(NotifyConfig(urls_from=VARIABLE))
    assert hook.received == [], "a check sends nothing"
    assert Sender(VARIABLE, 60).send(MESSAGE) is None
    (received,) = hook.received
    assert (received["title"], received["message"], received["type"]) == (MESSAGE.title, MESSAGE.body, "success")


def test_every_address_gets_the_message(hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{hook.address()} {hook.address()}x")
    assert Sender(VARIABLE, 60).send(MESSAGE) is None
    assert len(hook.received) == 2


def test_a_service_that_refuses_is_a_problem_without_its_address(
    hook: Webhook, capfd: pytest.CaptureFixture[str]
) -> None:
    hook.status = 500
    assert Sender(VARIABLE, 60).send(MESSAGE) == "a service did not take it"
    assert len(hook.received) >= 1 and capfd.readouterr() == ("", "")


def test_a_service_that_is_not_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"json://127.0.0.1:{free_port()}/{SECRET}")
    assert Sender(VARIABLE, 60).send(MESSAGE) == "a service did not take it"


def test_a_service_that_does_not_answer_costs_no_more_than_the_limit(hook: Webhook) -> None:
    hook.silent = True
    # Apprise itself would wait for ten minutes.
    hook_address = f"{hook.address(SECRET)}?rto=600"
    before = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, hook_address)
        assert Sender(VARIABLE, 1).send(MESSAGE) == "not within 1 s (notify.timeout_seconds)"
    assert time.monotonic() - before < 300


def test_a_variable_that_is_not_set_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    message = rf"notify\.urls_from={VARIABLE}: there is no such .*, or it is empty; export {VARIABLE}="
    with pytest.raises(ConfigError, match=message):
        check_notification(NotifyConfig(urls_from=VARIABLE))


@pytest.mark.parametrize("addresses", [SECRET, f"unknown://{SECRET}", f"json://127.0.0.1/ mailto://{SECRET}"])
def test_an_address_of_no_service_is_refused_and_not_shown(
    addresses: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, addresses)
    with pytest.raises(ConfigError, match="not all addresses in it are of a form that apprise knows; none is") as error:
        check_notification(NotifyConfig(urls_from=VARIABLE))
    out, err = capfd.readouterr()
    assert SECRET not in str(error.value) + out + err


def test_without_the_package_the_way_to_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "apprise" else find(name))
    message = r"needs the package apprise, which is not installed; pip install 'fcos-lab\[notify\]'"
    with pytest.raises(ConfigError, match=message):
        check_notification(NotifyConfig(urls_from=VARIABLE))


def test_without_an_address_no_package_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: pytest.fail("not needed"))
    check_notification(NotifyConfig())


def test_an_address_as_the_value_is_refused_and_not_shown() -> None:
    words = ["+experiment=ablation_centerness", f"notify.urls_from=slack://{SECRET}/a/b"]
    with pytest.raises(ConfigError, match=r"notify\.urls_from: must be the name of an environment variable") as error:
        compose(check_overrides(words))
    assert SECRET not in str(error.value)


def test_a_name_of_a_variable_is_accepted_in_the_config() -> None:
    words = ["+experiment=ablation_centerness", f"notify.urls_from={VARIABLE}", "notify.events=[end]"]
    notify = compose(check_overrides(words)).notify
    assert (notify.urls_from, notify.events) == (VARIABLE, ("end",))
