"""A release without images, made as a maintainer makes it: what is in it, and that it can be installed."""

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from devcluster.paths import REPOSITORY
from gpu_relay import __version__
from tests.support.gitops import rendered
from tools.release.manifests import TEMPLATES, Reference, chart_package, install_files
from tools.release.plugin import ARCHIVE, MANIFEST

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
SHIPPED = [Path(each) for each in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
_OVERLAYS = {each.name for each in (REPOSITORY / "manifests" / "overlays").iterdir()}
OVERLAYS = ["base", *sorted(_OVERLAYS - TEMPLATES)]
DOWNLOADS = "https://example.com/gpu-relay/releases/download/v1"
DIGEST = "sha256:" + "0" * 64
PINNED = {name: Reference(f"registry.example/{name}", __version__, DIGEST) for name in ("operator", "sam3", "yolo")}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make release` writes."""
    folder = tmp_path_factory.mktemp("release") / "dist"
    command = [
        "make",
        "release",
        f"VERSION={__version__}",
        f"OUT={folder}",
        "REGISTRY=registry.example",
        f"DOWNLOADS={DOWNLOADS}",
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(release: Path) -> Path:
    return release / f"gpu_relay-{__version__}-py3-none-any.whl"


def test_every_file_of_it_is_named_with_its_checksum(release: Path) -> None:
    lines = [line.split("  ") for line in (release / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert sums == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in release.iterdir()
        if file.name != "SHA256SUMS"
    }
    installs = {f"install-{name}.yaml" for name in ("cluster", *OVERLAYS)}
    packages = {f"gpu_relay-{__version__}-py3-none-any.whl", f"gpu_relay-{__version__}.tar.gz"}
    assert sums.keys() == {"CHANGES.md", f"gpu-relay-{__version__}.tgz", ARCHIVE, MANIFEST, *installs, *packages}


def test_the_wheel_has_every_file_of_every_package(wheel: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    files = [Path(line) for line in tracked.splitlines()]
    wanted = {str(file.relative_to(each.parent)) for file in files for each in SHIPPED if file.is_relative_to(each)}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == wanted
    homes = {each.parent for each in SHIPPED}
    packages = {file.parent for file in files if file.name == "__init__.py" and file.parent.parent in homes}
    assert packages == set(SHIPPED), "packages that pyproject.toml does not ship"


def test_its_commands_start_from_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    """Installed without dependencies, which are those of this environment: downloading torch again shows nothing."""
    venv.create(tmp_path / "venv", with_pip=True)
    pip = str(tmp_path / "venv" / "bin" / "pip")
    subprocess.run([pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, env={})
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    assert _output(tmp_path, "gpu-relay", "--version") == f"gpu-relay {__version__}\n"
    for command in PROJECT["project"]["scripts"]:
        assert _output(tmp_path, command, "--help"), command


def _output(folder: Path, command: str, option: str) -> str:
    done = subprocess.run(
        [folder / "venv" / "bin" / command, option], cwd=folder, env={}, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_plugin_runs_from_the_archive_that_krew_unpacks(release: Path, tmp_path: Path) -> None:
    (platform,) = yaml.safe_load((release / MANIFEST).read_text())["spec"]["platforms"]
    assert platform["uri"] == f"{DOWNLOADS}/{ARCHIVE}"
    assert platform["sha256"] == hashlib.sha256((release / ARCHIVE).read_bytes()).hexdigest()
    unpacked = tmp_path / "with space"
    with tarfile.open(release / ARCHIVE) as archive:
        archive.extractall(unpacked, filter="data")
    command = tmp_path / "kubectl-relay"
    command.symlink_to(unpacked / platform["bin"])  # as krew does
    environment = {**os.environ, "UV_TOOL_DIR": str(tmp_path / "tools")}
    done = subprocess.run([command, "--version"], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == f"kubectl relay {__version__}\n", done.stderr


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_install_file_has_the_images_of_the_release(release: Path, overlay: str, tmp_path: Path) -> None:
    install_files(REPOSITORY, PINNED, tmp_path)
    named = (release / f"install-{overlay}.yaml").read_text()
    pinned = (tmp_path / f"install-{overlay}.yaml").read_text()
    assert list(yaml.safe_load_all(named))
    for name in PINNED:
        times = 2 if (name, overlay) == ("operator", "page") else 1  # the page is in the operator's image
        assert named.count(f" registry.example/{name}:{__version__}\n") == times
        assert pinned.count(f" registry.example/{name}@{DIGEST}\n") == times
        assert f" gpu-relay/{name}" not in named + pinned, "all of them are named"
    assert _plain(pinned) == _plain(named.replace(f":{__version__}\n", f"@{DIGEST}\n"))


def _plain(text: str) -> str:
    """Return an install file without the hash of the settings, which differs with the trainer's image."""
    return re.sub(r"gpu-relay-settings-\w{10}\b", "gpu-relay-settings", text)


def test_the_chart_package_has_the_images_of_the_release(release: Path, tmp_path: Path) -> None:
    named = _images(release / f"gpu-relay-{__version__}.tgz", tmp_path / "named")
    pinned = _images(chart_package(REPOSITORY, PINNED, __version__, tmp_path), tmp_path / "pinned")
    assert named == {f"registry.example/{name}:{__version__}" for name in ("operator", "sam3")}
    assert pinned == {f"registry.example/{name}@{DIGEST}" for name in ("operator", "sam3")}


def _images(package: Path, folder: Path) -> set[str]:
    """Return the images of the Deployments that Helm's engine makes of a package."""
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    objects = [each for each in rendered(folder / "gpu-relay", "gpu-relay", {}) if each["kind"] == "Deployment"]
    containers = [container for each in objects for container in each["spec"]["template"]["spec"]["containers"]]
    return {container["image"] for container in containers}


def test_a_version_that_is_not_the_projects_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.release", "9.9.9", "--output", str(tmp_path / "dist"), "--hatchling", "x"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"pyproject.toml: {__version__}, not 9.9.9" in done.stderr
    assert not (tmp_path / "dist").exists()
