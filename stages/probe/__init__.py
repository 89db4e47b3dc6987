"""Probes: scikit-learn models on stored embeddings, for any label."""

from stages.probe.apply import ProbePredictions, apply_probe
from stages.probe.config import ProbeConfig
from stages.probe.errors import ProbeError
from stages.probe.fit import fit_probe
from stages.probe.report import ProbeReport
from stages.probe.saved import Probe, load_probe

__all__ = [
    "Probe",
    "ProbeConfig",
    "ProbeError",
    "ProbePredictions",
    "ProbeReport",
    "apply_probe",
    "fit_probe",
    "load_probe",
]
