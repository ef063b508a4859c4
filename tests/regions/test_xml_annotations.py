import math

import pytest
import shapely

from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.regions.xml_annotations import SlideFrame, read_xml

ASAP = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
 <Annotation Name="Annotation 0" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58"><Coordinates>
  <Coordinate Order="1" X="10,5" Y="0"/><Coordinate Order="0" X="0" Y="0"/>
  <Coordinate Order="2" X="10,5" Y="10"/><Coordinate Order="3" X="0" Y="10"/></Coordinates></Annotation>
 <Annotation Name="Annotation 1" Type="Dot" PartOfGroup="None" Color="#0000FF"><Coordinates>
  <Coordinate Order="0" X="3.25" Y="4.5"/></Coordinates></Annotation>
 <Annotation Name="" Type="PointSet" PartOfGroup="None" Color="#0000FF"><Coordinates>
  <Coordinate Order="0" X="1" Y="2"/><Coordinate Order="1" X="3" Y="4"/></Coordinates></Annotation>
</Annotations><AnnotationGroups><Group Name="Tumor" PartOfGroup="None" Color="#64FE2E"><Attributes/></Group>
</AnnotationGroups></ASAP_Annotations>"""


def vertices(*points):
    return "<Vertices>" + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points) + "</Vertices>"


SQUARE, HOLE = ((0, 0), (10, 0), (10, 10), (0, 10)), ((2, 2), (4, 2), (4, 4), (2, 4))
BOW = ((1, 1), (9, 9), (9, 1), (1, 9))


def region(kind, *points, hole=0):
    return f'<Region Type="{kind}" NegativeROA="{hole}">{vertices(*points)}</Region>'


def imagescope(*regions):
    return f"<Annotations><Annotation><Regions>{''.join(regions)}</Regions></Annotation></Annotations>"


IMAGESCOPE = f"""<Annotations MicronsPerPixel="0.5">
<Annotation Id="1" Name="" LineColor="255"><Attributes><Attribute Name="Description" Value="Tumour"/></Attributes>
<Regions><RegionAttributeHeaders/>
<Region Id="1" Type="0" NegativeROA="0" Text="one">{vertices(*SQUARE)}</Region>
<Region Id="2" Type="0" NegativeROA="1" Text="">{vertices(*HOLE)}</Region></Regions></Annotation>
<Annotation Id="2" Name="Vessels" LineColor="16711680"><Regions>
<Region Id="1" Type="2" NegativeROA="0">{vertices((0, 0), (20, 10))}</Region>
<Region Id="2" Type="4" NegativeROA="0">{vertices((0, 0), (3, 4))}</Region></Regions></Annotation></Annotations>"""

NDPA = """<?xml version="1.0"?><annotations><ndpviewstate id="7"><title>Tumor</title><details>edge</details>
<coordformat>nanometers</coordformat><annotation type="freehand" displayname="AnnotateFreehand" color="#ff0000">
<closed>1</closed><pointlist><point><x>1000</x><y>2000</y></point><point><x>6000</x><y>2000</y></point>
<point><x>6000</x><y>4500</y></point></pointlist></annotation></ndpviewstate>
<ndpviewstate id="8"><title></title><annotation type="circle" color="#00ff00"><x>1000</x><y>2000</y>
<radius>5000</radius></annotation></ndpviewstate>
<ndpviewstate id="9"><title>cell</title><annotation type="pin" color="#0000ff"><x>1500</x><y>2000</y></annotation>
</ndpviewstate></annotations>"""
FRAME = SlideFrame(width=2000, height=1000, mpp=0.5, offset_nm=(1000.0, 2000.0))


@pytest.fixture
def write(tmp_path):
    def make(text: str):
        path = tmp_path / "a ä#.xml"
        path.write_text(text)
        return path

    return make


def test_asap_polygons_dots_and_point_sets(write):
    polygon, dot, points = read_xml(write(ASAP))
    assert polygon.geometry.equals(shapely.box(0, 0, 10.5, 10))
    assert (polygon.label, polygon.name, polygon.colour) == ("Tumor", "Annotation 0", (0x64, 0xFE, 0x2E))
    assert dot.geometry == shapely.Point(3.25, 4.5)
    assert (dot.label, dot.colour) == (None, (0, 0, 255))
    assert len(points.geometry.geoms) == 2


def test_imagescope_layers_negative_regions_and_ellipses(write):
    ring, ellipse, ruler = read_xml(write(IMAGESCOPE))
    assert ring.geometry.area == 100 - 4
    assert (ring.label, ring.name, ring.colour) == ("Tumour", "one", (255, 0, 0))
    assert (ellipse.label, ellipse.colour) == ("Vessels", (0, 0, 255))
    assert ellipse.geometry.bounds == (0, 0, 20, 10)
    assert ellipse.geometry.area == pytest.approx(math.pi * 10 * 5, rel=6e-4)
    assert ruler.geometry.length == 5


def test_ndpa_counts_nanometres_from_the_centre_of_the_glass(write):
    """Half a µm a pixel: 500 nm are one pixel; the point at the offset is the centre of the image."""
    area, circle, pin = read_xml(write(NDPA), frame=FRAME)
    assert area.geometry.bounds == (1000, 500, 1010, 505)
    assert (area.label, area.name, area.colour, area.identifier) == ("Tumor", "edge", (255, 0, 0), "7")
    assert circle.geometry.bounds == pytest.approx((990, 490, 1010, 510))
    assert circle.label is None
    assert pin.geometry == shapely.Point(1001, 500)
    with pytest.raises(UsageError, match=r"a ä#\.xml.*--slide"):
        read_xml(write(NDPA))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a>", "not valid XML"),
        ("<html/>", "unknown kind.*<html>"),
        ("<Annotations/>", "unknown kind"),
        (ASAP.replace('Type="Dot"', 'Type="Cloud"'), "object 1 has the unknown type 'Cloud'"),
        (ASAP.replace('X="3.25"', 'X="left"'), "object 1 has 'left'"),
        (ASAP.replace('X="10,5"', 'X="0"').replace('Y="10"', 'Y="0"'), "object 0 .*no area"),
        (IMAGESCOPE.replace('Type="4"', 'Type="9"'), "object 3 has the unknown type '9'"),
        (imagescope(region(2)), "object 0 has the unknown type '2' with 0 vertices"),
        (imagescope(region(0, *BOW), region(0, (1, 1), (9, 1), (9, 2), (1, 9), hole=1)), "object 1 .*crosses itself"),
        (imagescope(region(0, *SQUARE), region(0, *BOW, hole=1)), "object 1 .*crosses itself"),
        (ASAP.replace('"Polygon"', '"PointSet"').replace("<Coordinate ", "<Other "), "object 0 has 0 corners"),
        (IMAGESCOPE.replace('X="2"', 'X="50"').replace('X="4"', 'X="55"'), "object 1 is a negative region"),
        (NDPA.replace("<radius>5000</radius>", ""), "object 1 has ''"),
        (NDPA.replace('type="pin"', 'type="cloud"'), "object 2 has the unknown type 'cloud'"),
        (NDPA.replace("nanometers", "pixels"), "object 0 has positions in 'pixels'"),
    ],
)
def test_bad_files_are_told_with_the_index_of_the_object(write, text, message):
    with pytest.raises(InvalidData, match=message) as error:
        read_xml(write(text), frame=FRAME)
    assert "a ä#.xml" in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(MissingFile):
        read_xml(tmp_path / "none.xml")


def test_a_freehand_line_is_closed_unless_the_file_says_otherwise(write):
    for text, kind in (("", "Polygon"), ("<closed>1</closed>", "Polygon"), ("<closed>0</closed>", "LineString")):
        found = read_xml(write(NDPA.replace("<closed>1</closed>", text)), frame=FRAME)
        assert found[0].geometry.geom_type == kind


def test_an_ellipse_may_be_smaller_than_a_pixel_but_not_flat(write):
    (found,) = read_xml(write(imagescope(region(2, (0, 0), (1, 0.5)))))
    assert found.geometry.bounds == pytest.approx((0, 0, 1, 0.5))
    with pytest.raises(InvalidData, match="object 0 is an ellipse without an area"):
        read_xml(write(imagescope(region(2, (0, 0), (1, 0)))))
