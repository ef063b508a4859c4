"""Which keys of camera and hospital files can name a patient."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_IDENTIFYING = frozenset({
    "patientid", "patientname", "patientbirthdate", "patientsex", "patientcomments", "birthdate", "birthday",
    "admissionid", "accessionnumber", "requestedproceduredescription", "requestedprocedureid",
    "performingphysiciansname", "studyid", "studydescription", "seriesdescription", "operatorsname",
    "firstname", "lastname", "surname", "geburtsdatum", "vorname", "nachname", "patientenname", "patientennummer",
    "fallnummer",
})  # fmt: skip


@lru_cache(maxsize=4096)
def is_identifying(key: str) -> bool:
    """Whether a key such as `PatientName`, `patient_birth_date` or `Admission ID` can name a patient.

    The keys of camera logs begin with their section: what follows any `_` counts by itself (`Patient_PatientName`).
    """
    parts = key.lower().split("_")
    return any("".join(filter(str.isalnum, "".join(parts[i:]))) in _IDENTIFYING for i in range(len(parts)))


def without_identifiers(values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries whose keys cannot name a patient, also in tables and lists inside."""
    return {key: _cleaned(value) for key, value in values.items() if not is_identifying(key)}


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_identifiers(value)
    return [_cleaned(item) for item in value] if isinstance(value, list) else value
