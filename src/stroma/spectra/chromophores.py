"""Absorption of haemoglobin, water, fat and melanin from 500 to 1000 nm: published tables, interpolated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stroma.core.errors import UsageError

RANGE_NM = (500.0, 1000.0)
"""The wavelengths the tables cover."""

BLOOD_HAEMOGLOBIN_G_PER_L = 150.0
HAEMOGLOBIN_G_PER_MOL = 64_500.0


def haemoglobin_per_cm(wavelengths_nm: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Absorption coefficient of whole blood with all haemoglobin oxygenated, and with none.

    Molar extinction coefficients (per cm and mol/l, base 10) are those compiled by S. Prahl (omlc.org, 1998)
    from W. B. Gratzer and N. Kollias, every 2 nm up to 612 nm and every 4 nm above. Blood has 150 g haemoglobin
    a litre at 64,500 g/mol, so that absorption is ln(10) · extinction · 150 / 64,500.

    Args:
        wavelengths_nm: (C,) within `RANGE_NM`.

    Returns:
        Oxygenated and deoxygenated, each (C,) in 1/cm.

    Raises:
        UsageError: a wavelength lies outside the tables.
    """
    wavelengths = _checked(wavelengths_nm)
    molar_to_blood = np.log(10) * BLOOD_HAEMOGLOBIN_G_PER_L / HAEMOGLOBIN_G_PER_MOL
    oxygenated = np.interp(wavelengths, _HAEMOGLOBIN_NM, _HBO2_PER_CM_MOLAR)
    deoxygenated = np.interp(wavelengths, _HAEMOGLOBIN_NM, _HB_PER_CM_MOLAR)
    return oxygenated * molar_to_blood, deoxygenated * molar_to_blood


def water_per_cm(wavelengths_nm: ArrayLike) -> NDArray[np.float64]:
    """Absorption coefficient of water (C,) in 1/cm: G. M. Hale and M. R. Querry, Applied Optics 12:555, 1973.

    Raises:
        UsageError: a wavelength lies outside the tables.
    """
    result: NDArray[np.float64] = np.interp(_checked(wavelengths_nm), _WATER_NM, _WATER_PER_CM)
    return result


def fat_per_cm(wavelengths_nm: ArrayLike) -> NDArray[np.float64]:
    """Absorption coefficient of mammalian fat (C,) in 1/cm, tabulated every 5 nm.

    R. L. P. van Veen et al., OSA Biomedical Topical Meeting, 2004 (data on omlc.org).

    Raises:
        UsageError: a wavelength lies outside the tables.
    """
    result: NDArray[np.float64] = np.interp(_checked(wavelengths_nm), _FAT_NM, _FAT_PER_M) / 100.0
    return result


def melanosome_per_cm(wavelengths_nm: ArrayLike) -> NDArray[np.float64]:
    """Absorption coefficient of the inside of melanosomes (C,) in 1/cm: 6.6e11 · λ^-3.33, λ in nm.

    S. L. Jacques and D. J. McAuliffe, Photochemistry and Photobiology 53:769, 1991.

    Raises:
        UsageError: a wavelength lies outside the tables.
    """
    result: NDArray[np.float64] = 6.6e11 * _checked(wavelengths_nm) ** -3.33
    return result


def _checked(wavelengths_nm: ArrayLike) -> NDArray[np.float64]:
    wavelengths = np.asarray(wavelengths_nm, dtype=np.float64)
    outside = wavelengths[~((wavelengths >= RANGE_NM[0]) & (wavelengths <= RANGE_NM[1]))]
    if outside.size:
        raise UsageError(
            f"absorption at {outside.flat[0]:g} nm is not tabulated",
            next_step=f"Use wavelengths from {RANGE_NM[0]:g} to {RANGE_NM[1]:g} nm",
        )
    return wavelengths


def _numbers(text: str) -> NDArray[Any]:
    return np.array(text.split(), dtype=np.float64)


_HAEMOGLOBIN_NM = np.concatenate([np.arange(500.0, 612.0, 2.0), np.arange(612.0, 1001.0, 4.0)])
_FAT_NM = np.arange(500.0, 1001.0, 5.0)
_HBO2_PER_CM_MOLAR = _numbers(
    """
    20932.8 20596.4 20418 19946 19996 20035.2 20150.4 20429.2 21001.6 22509.6 24202.4 26450.4 29269.2 32496.4
    35990 39956.8 43876 46924 49752 51712 53236 53292 52096 49868 46660 43016 39675.2 36815.2 34476.8 33456
    32613.2 32620 33915.6 36495.2 40172 44496 49172 53308 55540 54728 50104 43304 34639.6 26600.4 19763.2 14400.8
    10468.4 7678.8 5683.6 4504.4 3200 2664 2128 1789.2 1647.6 1506 1364.4 1110 942 774 658.8 561.2 478.8 442 405.2
    379.2 356.8 335.2 319.6 308.4 298 290 282 277.6 274.4 274.4 277.6 282 290 298 308.4 319.6 332 348 364 381.2
    398.8 418.8 446 473.2 502.8 533.2 562 586 610 636.4 663.6 689.2 710 730.8 748 764 786.4 816 836 856 872 887.2
    916 944.8 965.2 982.8 1001.2 1022 1042.8 1054 1062 1072.8 1092 1111.2 1123.2 1132.8 1142.8 1154 1165.2 1174
    1182 1190 1198 1206 1211.6 1216.4 1220.8 1224 1227.2 1224.4 1219.6 1215.6 1214 1212.4 1207.2 1200.8 1194 1186
    1178 1167.6 1156.4 1144 1128 1112 1091.2 1068.8 1046.4 1024
    """
)

_HB_PER_CM_MOLAR = _numbers(
    """
    20862 21832.8 22803.6 23774.4 24745.2 25773.6 26936.8 28100 29263.2 30426.4 31589.6 32851.2 34397.6 35944
    37490 39036.4 40584 42088 43592 45092 46592 48148 49708 51268 52496 53412 54080 54520 54540 54164 53788 52276
    50572 48828 46948 45072 43340 41716 40092 38467.6 37020 35676.4 34332.8 32851.6 31075.2 28324.4 25470 22574.8
    19800 17058.4 14677.2 13622.4 12567.6 11513.2 10477.6 9443.6 8591.2 7344.8 6509.6 5906.8 5366.8 4930.8 4602.4
    4345.2 4088.4 3857.6 3642.64 3427.68 3226.56 3053.96 2881.4 2708.84 2554.4 2407.92 2261.48 2115 2000.48
    1897.56 1794.28 1687.76 1583.52 1497.4 1411.32 1325.88 1244.44 1152.8 1102.2 1101.76 1115.88 1207.4 1333.24
    1515.32 1560.48 1548.52 1459.56 1361.32 1262.44 1163.56 1075.44 996.72 921.8 859.8 802.96 761.72 737.08 723.52
    711.84 701.32 693.76 693.48 693.2 692.92 692.64 692.36 691.96 691.52 691.08 690.64 694.32 698.04 701.8 709.96
    718.2 726.44 733.2 739.96 747.24 754.52 761.84 767.44 772.16 776.92 778.04 777.36 776.64 768.08 752.28 722.88
    693.44 660.52 621.64 583.4 554.48 525.56 495.36 451.32 415.28 389.288 359.656 329.084 298.508 267.932 237.36
    206.784
    """
)

_WATER_NM = _numbers(
    """
    500 525 550 575 600 625 650 675 700 725 750 775 800 810 820 825 830 840 850 860 870 875 880 890 900 910 920
    925 930 940 950 960 970 975 980 990 1000
    """
)

_WATER_PER_CM = _numbers(
    """
    0.00025 0.00032 0.00045 0.00079 0.0023 0.0028 0.0032 0.00415 0.006 0.0159 0.026 0.024 0.02 0.019858 0.023907
    0.028 0.029069 0.034707 0.043 0.046759 0.051999 0.056 0.055978 0.060432 0.068 0.072913 0.10927 0.144 0.17296
    0.26737 0.39 0.42 0.45 0.45 0.43 0.41 0.36
    """
)

_FAT_PER_M = _numbers(
    """
    1.906 1.683 1.501 1.368 1.231 1.132 1.031 0.978 0.896 0.833 0.773 0.733 0.698 0.653 0.629 0.589 0.566 0.548
    0.502 0.487 0.466 0.484 0.464 0.422 0.43 0.432 0.428 0.431 0.452 0.465 0.471 0.448 0.418 0.428 0.45 0.457
    0.406 0.369 0.342 0.324 0.323 0.323 0.315 0.326 0.367 0.415 0.499 0.576 0.654 0.801 0.972 1.12 1.278 1.206
    0.871 0.553 0.409 0.357 0.346 0.359 0.403 0.454 0.527 0.603 0.691 0.775 0.803 0.775 0.726 0.678 0.637 0.639
    0.674 0.751 0.938 1.198 1.636 2.262 3.116 3.983 4.633 5.472 7.046 8.994 10.65 12.31 13.1 11.75 8.754 5.704
    3.799 2.666 2.047 1.753 1.528 1.413 1.417 1.481 1.716 2.178 2.654
    """
)
