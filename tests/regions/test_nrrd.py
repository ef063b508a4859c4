import gzip
import json

import numpy as np
import pytest

from stroma.core.errors import InvalidData, MissingFile, UnreadableImage
from stroma.regions.nrrd import LayeredMask, MaskLabel, plain_name, read_mitk_nrrd, write_mitk_nrrd

MASK = np.array([[0, 1, 2], [2, 0, 1]], dtype=np.uint8)  # 2 high, 3 wide
LABELS = (MaskLabel(1, "03_liver", (255, 0, 0)), MaskLabel(2, "spleen", (0, 128, 64)))


def header(*lines: str) -> bytes:
    return "\n".join(["NRRD0004", "# a comment: nothing", *lines]).encode() + b"\n\n"


def xml(value: int, name: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\\n<Label>\\n<property key="name" type="StringProperty">'
        f'<string value="{name}"/></property><property key="value" type="UIntProperty"><unsigned value="{value}"/>'
        '</property><property key="color" type="ColorProperty"><color r="1" g="0" b="0.5"/></property></Label>'
    )


def test_what_is_written_is_read_back(tmp_path):
    for mask, labels, names in (
        (MASK[None], (LABELS,), ("organs",)),
        (np.stack([MASK, np.where(MASK == 2, 2, 0).astype(np.uint8)]), (LABELS, LABELS[1:]), (None, "second")),
    ):
        path = write_mitk_nrrd(tmp_path / "a ä#.nrrd", LayeredMask(mask, labels, names))
        found = read_mitk_nrrd(path)
        assert np.array_equal(found.mask, mask)
        assert (found.labels, found.names) == (labels, names)
        assert write_mitk_nrrd(tmp_path / "b.nrrd", found).read_bytes() == path.read_bytes()


def test_lines_may_end_as_on_windows(tmp_path):
    path = write_mitk_nrrd(tmp_path / "a.nrrd", LayeredMask(MASK[None], (LABELS,), ("organs",)))
    head, _, body = path.read_bytes().partition(b"\n\n")
    path.write_bytes(head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body)
    assert np.array_equal(read_mitk_nrrd(path).mask, MASK[None])


def test_the_first_axis_of_the_file_is_x(tmp_path):
    """NRRD lists sizes from the fastest axis on: width, height, slices."""
    groups = json.dumps([{"labels": [{"name": "a", "value": v, "color": {"value": [0, 0, 0]}} for v in (1, 2)]}])
    lines = (
        "type: uchar",
        "sizes: 3 2 1",
        "encoding: raw",
        f"org.mitk.multilabel.segmentation.labelgroups:={groups}",
    )
    (tmp_path / "a.nrrd").write_bytes(header(*lines) + MASK.tobytes())
    assert np.array_equal(read_mitk_nrrd(tmp_path / "a.nrrd").mask, MASK[None])


def test_the_old_kind_with_xml_and_an_exterior_label(tmp_path):
    lines = (
        "type: ushort", "sizes: 2 3 2 1", "endian: big", "encoding: gzip", "layers:=2", "layer_000:=3",
        "layer_001:=2",
        f"org.mitk.label_000_00000:={xml(0, 'Exterior')}", f"org.mitk.label_000_00001:={xml(1, '03_liver')}",
        f"org.mitk.label_000_00002:={xml(2, 'spleen')}", f"org.mitk.label_001_00000:={xml(0, 'Exterior')}",
        f"org.mitk.label_001_00001:={xml(1, 'spleen')}",
    )  # fmt: skip
    layers = np.stack([MASK, (MASK == 2).astype(np.uint8)])
    body = np.swapaxes(layers, 1, 2).astype(">u2").tobytes(order="F")
    (tmp_path / "a.nrrd").write_bytes(header(*lines) + gzip.compress(body))
    found = read_mitk_nrrd(tmp_path / "a.nrrd")
    assert np.array_equal(found.mask, layers)
    assert [[(label.value, label.name) for label in layer] for layer in found.labels] == [
        [(1, "03_liver"), (2, "spleen")],
        [(1, "spleen")],
    ]
    assert found.labels[0][0].colour == (255, 0, 128)
    assert plain_name("03_liver") == "liver"


def test_values_without_a_label_are_an_error(tmp_path):
    with pytest.raises(InvalidData, match="value 2 without a label"):
        write_mitk_nrrd(tmp_path / "a.nrrd", LayeredMask(MASK[None], (LABELS[:1],), (None,)))
    groups = json.dumps([{"labels": None}])
    lines = (
        "type: uchar",
        "sizes: 3 2 1",
        "encoding: raw",
        f"org.mitk.multilabel.segmentation.labelgroups:={groups}",
    )
    (tmp_path / "a.nrrd").write_bytes(header(*lines) + MASK.tobytes())
    with pytest.raises(InvalidData, match="value 1 in layer 0"):
        read_mitk_nrrd(tmp_path / "a.nrrd")


def test_broken_and_foreign_files_are_told(tmp_path):
    path = write_mitk_nrrd(tmp_path / "a.nrrd", LayeredMask(MASK[None], (LABELS,), (None,)))
    whole = path.read_bytes()
    for content in (
        b"",
        b"no nrrd",
        whole[:-9],
        whole.replace(b"sizes: 3", b"sizes: 4"),
        whole.replace(b"gzip", b"bzip"),
        whole.replace(b"unsigned short", b"block"),
    ):
        path.write_bytes(content)
        with pytest.raises(UnreadableImage, match=r"a\.nrrd"):
            read_mitk_nrrd(path)
    path.write_bytes(header("type: uchar", "sizes: 3 2", "encoding: raw") + MASK.tobytes())
    with pytest.raises(InvalidData, match="without labels"):
        read_mitk_nrrd(path)
    with pytest.raises(MissingFile):
        read_mitk_nrrd(tmp_path / "none.nrrd")
