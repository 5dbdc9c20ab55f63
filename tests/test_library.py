"""The wheel in an environment that has torch and numpy, and nothing of the benchmark: installed, and trained with."""

import re
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOOP = """
import importlib.util
for name in ("mmseg", "mmengine", "yaml", "pandas", "snakemake", "wandb"):
    assert importlib.util.find_spec(name) is None, name

from pathlib import Path
import torch
import segloss
from segloss import losses

assert segloss.__version__ == "{version}"
assert Path(segloss.__file__).is_relative_to("{folder}")
assert (Path(segloss.__file__).parent / "py.typed").exists()
terms = [dict(loss="cross_entropy", weight=0.25), dict(loss="jaccard_metric", weight=0.75)]
criteria = [losses.JaccardMetricLoss(classes="all"), losses.CompoundLoss(terms=terms), losses.LovaszSoftmaxLoss()]
for criterion in criteria:
    torch.manual_seed(0)
    model = torch.nn.Conv2d(3, 4, 3, padding=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    labels = torch.randint(4, (2, 4, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    images = 0.3 * torch.randn(2, 3, 16, 16) + torch.nn.functional.one_hot(labels, 4).movedim(-1, 1)[:, :3]
    labels[:, :2] = 255
    values = []
    for _ in range(10):
        loss = criterion(model(images), labels, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0], values
from segloss.labels import boundary_smoothing
target, valid = boundary_smoothing(labels, labels != 255, 4)
assert losses.jaccard_metric(model(images), target, valid=valid) < 1
print("trained")
"""


def requirements(name: str, known: dict[str, metadata.Distribution]) -> dict[str, metadata.Distribution]:
    """A distribution and all its requirements that are installed here."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return known  # needed on other machines
    if name not in known:
        known[name] = distribution
        for line in distribution.requires or ():
            if "extra ==" not in line:
                requirements(re.match(r"[A-Za-z0-9._-]+", line)[0], known)
    return known


def environment(folder: Path) -> Path:
    """A virtual environment with links to torch and numpy, and to what they need; returns its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for distribution in requirements("torch", requirements("numpy", {})).values():
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "bin", "__pycache__")}
        for top in tops:
            source = Path(distribution.locate_file(top))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    return folder / "bin" / "python"


@pytest.mark.slow
def test_the_wheel_works_beside_torch_alone(tmp_path: Path) -> None:
    def run(*command: object) -> str:
        done = subprocess.run(
            [str(part) for part in command], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)  # setuptools builds where the source is
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    python = environment(tmp_path / "environment")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, tmp_path)
    (wheel,) = tmp_path.glob("segloss-*.whl")
    run(*pip, "--python", python, "install", "--no-index", wheel)  # its requirements are met, or this fails
    version = wheel.name.split("-")[1]
    assert "trained" in run(python, "-W", "error", "-c", LOOP.format(version=version, folder=tmp_path))


@pytest.mark.parametrize(
    ("absent", "run"), [("jsonschema", "segloss"), ("snakemake", None), ("mmseg", "segloss.engine")]
)
def test_without_its_extra_the_suite_names_it_in_one_sentence(absent: str, run: str | None) -> None:
    """The wheel alone has the losses: what needs more is described, and what does not need the package works."""
    code = f"import runpy, sys; sys.modules[{absent!r}] = None; sys.argv = ['segloss', '--version']; "
    code += "import segloss.engine" if run == "segloss.engine" else "runpy.run_module('segloss', run_name='__main__')"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == (run is not None), done.stderr
    if run:
        last = done.stderr.strip().splitlines()[-1]
        assert f"needs {absent}, which is not installed: pip install 'segloss[bench]'" in last
        assert ("Traceback" in done.stderr) == (run == "segloss.engine")  # an import has one
