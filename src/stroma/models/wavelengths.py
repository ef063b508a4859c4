"""Wavelengths of the channels that published networks take."""

from __future__ import annotations

import numpy as np

RGB_NM = (611.0, 549.0, 464.0)
"""Dominant wavelengths of the sRGB primaries red, green and blue (IEC 61966-2-1, D65)."""
TIVITA_NM = tuple(float(value) for value in np.linspace(500, 1000, 100))
"""Bands of a Tivita cube."""
