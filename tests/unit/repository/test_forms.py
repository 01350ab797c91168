"""Files that GitHub reads have the form that it expects."""

import pytest

from fcos.installation import ROOT
from tests.helpers.deploy.schemas import find_violations

FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"


def test_workflows_have_the_form_of_workflows() -> None:
    assert find_violations("github-workflows", *sorted((ROOT / ".github" / "workflows").glob("*.yml"))) == ""


def test_issue_forms_have_the_form_of_such() -> None:
    forms = sorted(path for path in FORMS.glob("*.yml") if path.name != "config.yml")
    assert len(forms) == 3 and find_violations("github-issue-forms", *forms) == ""


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("dependabot", ".github/dependabot.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_a_file_follows_its_schema(schema: str, path: str) -> None:
    assert find_violations(schema, ROOT / path) == ""
