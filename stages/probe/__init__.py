"""Probes: scikit-learn on stored embeddings, for any label."""

from stages.probe.apply import Applied, apply_probe
from stages.probe.errors import ProbeError
from stages.probe.fit import fit_probe
from stages.probe.question import Question
from stages.probe.report import Report
from stages.probe.saved import Probe, load_probe

__all__ = [
    "Applied",
    "Probe",
    "ProbeError",
    "Question",
    "Report",
    "apply_probe",
    "fit_probe",
    "load_probe",
]
