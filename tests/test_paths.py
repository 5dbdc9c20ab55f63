"""Folders and grids with unusual names: every field of a shell command is quoted, or refused before the first job."""

import re
import shlex
from pathlib import Path

import pytest

from segloss.grid import ConfigError
from segloss.workflow import folder_option
from tests.conftest import TINY_GRID, run

GRID = TINY_GRID.replace("[hard, raters]", "[hard]").replace("seeds: 2", "seeds: 1")
CELL = "phantom/unet-tiny/tiny/hard/ce/seed0"
# A shell would split, expand, run or end something at each of these.
UNUSUAL = [
    "my results",
    "R&D",
    "run(1)",
    "it's",
    'a"b',
    "a;touch X",
    "a|b",
    "a>b",
    "#a",
    "a\\b",
    "$HOME",
    "$(touch X)",
    "`touch X`",
    "../sp/$(touch X)",
    "!a",
    "größe",
]


@pytest.mark.parametrize("name", [name for name in UNUSUAL if not name.startswith("..")])
def test_a_folder_may_have_any_name_that_snakemake_can_take(tmp_path: Path, name: str) -> None:
    assert folder_option("results", f"{tmp_path}/{name}") == f"{tmp_path}/{name}"


@pytest.mark.parametrize("name", ["run{1}", "a*", "a?", "[ab]", "a]", "a\nb", "a\tb", "a\x00b", "{", "}"])
def test_wildcards_and_control_characters_are_refused(tmp_path: Path, name: str) -> None:
    sentence = r"results=.* contains '.+', which Snakemake does not allow in a path"
    with pytest.raises(ConfigError, match=sentence) as caught:
        folder_option("results", f"{tmp_path}/{name}")
    assert "\n" not in str(caught.value)


def test_a_home_folder_is_expanded_and_an_impossible_one_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder_option("results", "~/x") == f"{tmp_path}/x"
    with pytest.raises(ConfigError, match="names the home folder of an unknown user"):
        folder_option("results", "~nobody-of-that-name/x")
    with pytest.raises(ConfigError, match=r"results=.* is too long: a name has at most 255 bytes"):
        folder_option("results", f"{tmp_path}/{'a' * 260}")
    with pytest.raises(ConfigError, match="results='-x' looks like a command-line option"):
        folder_option("results", "-x")


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_commands_of_the_plan_carry_unusual_names_whole(workplace: Path) -> None:
    (workplace / "configs/grids/tiny.yaml").write_text(GRID.replace("[ce, lovasz]", "[ce]"))
    for name in ("../sp/$(touch X) & it's", 'a"b;`c`|d'):
        config = ("grid=tiny", f"results={name}", f"reports={name} reports")
        done = run("snakemake", "-n", "-p", "--quiet", "host", "--cores", "1", "--config", *config, cwd=workplace)
        lines = (done.stdout + done.stderr).splitlines()
        commands = [shlex.split(line[line.index("segloss ") :]) for line in lines if "command: segloss " in line]
        verbs = {words[1]: words for words in commands}
        assert verbs.keys() == {"train", "collect", "report"}
        for words in verbs.values():
            assert words[words.index("--results") + 1] == name
        assert verbs["train"][verbs["train"].index(">") + 1] == f"{name}/{CELL}/train.log"
        assert verbs["collect"][verbs["collect"].index("--output") + 1] == f"{name} reports/tiny/results.csv"
        assert verbs["report"][3] == f"{name} reports/tiny/results.csv"
    assert not list(workplace.rglob("X"))


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_grid_with_unusual_names_fails_is_repaired_and_ends_with_its_table(workplace: Path) -> None:
    folder = workplace / "grid dir"
    folder.mkdir()
    (folder / "t.yaml").write_text(GRID.replace("[ce, lovasz]", "[ce, broken]"))
    losses = workplace / "configs/losses.yaml"
    whole = losses.read_text()
    losses.write_text(f"{whole}\nbroken: {{title: Broken, loss: cross_entropy, class_weights: [1, 2]}}\n")
    before = {path.name for path in workplace.iterdir()}
    names = {"results": "R&D (1) $(touch X)", "reports": "it's `touch X` reports"}
    config = ("grid=grid dir/t.yaml", *(f"{key}={name}" for key, name in names.items()))
    command = ("snakemake", "--cores", "1", "--config", *config)
    failed = run(*command, cwd=workplace, check=False)
    assert failed.returncode == 1
    table = workplace / names["reports"] / "t/table.md"
    assert "| Broken | failed" in table.read_text()  # by the partial report
    losses.write_text(f"{whole}\nbroken: {{title: Mended, loss: cross_entropy, class_weights: [1, 2, 1, 1, 1]}}\n")
    run(*command, cwd=workplace)
    assert re.search(r"\| Mended \|.*\d\d\.\d\d", table.read_text())
    assert (workplace / names["results"] / CELL / "record.json").is_file()
    assert {path.name for path in workplace.iterdir()} - before <= {*names.values(), ".snakemake", "data"}
    assert not list(workplace.rglob("X"))


@pytest.mark.slow
@pytest.mark.parametrize("config", ["results=run{1}", "reports=a*", "results=a[b]"])
def test_what_snakemake_cannot_take_is_one_sentence_before_the_first_job(workplace: Path, config: str) -> None:
    done = run("snakemake", "--cores", "1", "--config", "grid=tiny", config, cwd=workplace, check=False)
    assert done.returncode == 1
    assert "which Snakemake does not allow in a path; rename the folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Job stats" not in done.stdout + done.stderr
    assert not (workplace / "results").exists()
