"""`hear doctor`: each check names what is wrong and its fix, and none ends the others."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline import doctor
from pipeline.cli import hear
from pipeline.doctor import Finding, examine
from pipeline.params import EncoderParams
from stages.extract.encoders.weights import muq, musicfm
from stages.head.checkpoint.hub import PUBLISHED_HEADS


def states(check: doctor.Check) -> dict[str, str]:
    return {finding.check: finding.state for finding in check()}


def test_the_failure_of_a_check_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fine() -> Iterator[Finding]:
        yield Finding("fine", "ok", "yes")

    monkeypatch.setitem(sys.modules, "torch", None)  # as if it could not be imported
    found = list(examine({"devices": doctor.check_devices, "fine": fine}))
    assert [(finding.check, finding.state) for finding in found] == [("devices", "problem"), ("fine", "ok")]
    assert found[0].found.startswith("cannot be checked: ModuleNotFoundError: import of torch halted")
    assert doctor.count_states(found) == "1 ok, 0 warnings, 1 problem"


def test_versions_outside_our_ranges_are_problems_with_the_command_that_fixes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = doctor._version
    assert states(doctor.check_versions)["packages"] == "ok"
    monkeypatch.setattr(doctor, "_version", lambda name: {"av": "18.0.0", "zarr": ""}.get(name, real(name)))
    found = [finding for finding in doctor.check_versions() if finding.state == "problem"]
    assert [finding.found.split(",")[0] for finding in found] == ["av 18.0.0", "zarr is not installed"]
    assert [finding.fix for finding in found] == ["pip install 'av<17.1,>=17.0'", "pip install 'zarr<4,>=3.1'"]
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name == "fastapi" else real(name))
    extras = next(finding for finding in doctor.check_versions() if finding.check == "extras")
    assert "pip install 'hear-music[serve" in extras.found


def test_few_resources_are_warnings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stages.common.machine.memory_limit", lambda: 2 << 30)
    monkeypatch.setattr("resource.getrlimit", lambda name: (256, 4096))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    assert states(doctor.check_machine) == {"cores": "warning", "open files": "warning", "shared memory": "warning"}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none" / "yet"))
    monkeypatch.setattr("os.access", lambda place, mode: place != tmp_path)
    assert states(doctor.check_space) == {"this folder": "warning", "temporary files": "warning", "cache": "problem"}


def test_weights_are_found_in_the_cache_and_the_hub_by_one_request(on_hub: Any) -> None:
    from stages.common.hub import download

    on_hub.add("earlab/EAR_HEAR", {"track_2.pth": b"x" * 1_500_000})
    download("earlab/EAR_HEAR", "track_2.pth")
    found = {finding.check: finding for finding in doctor.check_weights()}
    assert {finding.state for name, finding in found.items() if name != "head of Track 2"} == {"warning"}
    commit = on_hub.commit("earlab/EAR_HEAR")[:12]
    assert found["head of Track 2"].found == f"earlab/EAR_HEAR: track_2.pth, 1.5 MB, commit {commit}"
    (hub,) = doctor.check_hub()
    assert (hub.state, hub.found) == ("ok", f"{on_hub.url} answers")
    on_hub.stop()
    (hub,) = doctor.check_hub()
    assert (hub.state, hub.found) == ("warning", f"{on_hub.url} cannot be reached: only the cache is used")


def test_the_weights_are_those_that_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named here because the loaders import torch, which may be what is broken."""
    asked: dict[str, tuple[str, tuple[str, ...]]] = {}

    def record(name: str) -> Any:
        def weight_files(source: str, files: tuple[str, ...]) -> None:
            asked[name] = (source, files)
            raise LookupError

        return weight_files

    for name, module, load in (("MuQ", muq, muq.load_muq), ("MusicFM", musicfm, musicfm.load_musicfm)):
        monkeypatch.setattr(module, "weight_files", record(name))
        with pytest.raises(LookupError, match=r"^$"):
            load(getattr(EncoderParams(), name.lower()))
    for track, reference in PUBLISHED_HEADS.items():
        repo, _, file = reference.rpartition("/")
        asked[f"head of Track {track}"] = (repo, (file,))
    assert asked == doctor.WEIGHTS


def test_the_decoder_decodes_three_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = doctor.check_decoder()
    assert found.state == "ok"
    assert "decodes WAV, FLAC and MP3" in found.found


def test_a_gpu_that_torch_cannot_use_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("stages.common.machine.has_gpu", lambda: True)
    assert states(doctor.check_devices) == {"GPU": "warning", "CPU": "ok"}


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warning", 0), ("problem", 1)])
def test_the_command_prints_findings_and_ends_with_1_for_a_problem(
    state: Any, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"this": lambda: iter([Finding("this", state, "found", "do that")])})
    shown = CliRunner().invoke(hear.app, ["doctor"], prog_name="hear")
    assert (shown.exit_code, shown.output.split()[:3]) == (code, [state, "this", "found"])
    assert "→ do that" in shown.output
    shown = CliRunner().invoke(hear.app, ["doctor", "--json"], prog_name="hear")
    assert (shown.exit_code, json.loads(shown.output)) == (
        code,
        [{"check": "this", "state": state, "found": "found", "fix": "do that"}],
    )
