"""`StudyConfig`: what `study.yaml` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from stroma.core.component import Component
from stroma.core.config import Section
from stroma.study.labels import LabelMapping

STUDY_FORMAT = "study/1"
STUDY_FILE = "study.yaml"


class SubjectRule(Section):
    """Where the subject of an image comes from.

    Attributes:
        rule: `layout`: as the layout says; `column`: a metadata column; `path-level`: a folder of the path;
            `regex`: a part of the id; `tcga`: the participant of the TCGA barcode in the path; `table`: a table of
            subjects, else the column `subject_id` (or another) of the study's table; `none`: unknown, each image
            is its own subject.
        column: For `column` and `table`.
        table: For `table`: CSV, TSV or Parquet with images (slides, cases) and their subjects, relative to
            study.yaml; file extensions and the UUIDs of TCGA's file names need not agree.
        level: For `path-level`: 1 is the first folder below the root.
        pattern: For `regex`, searched in the image id; its group `subject`, else its first group, else all of
            the match is the subject.
    """

    rule: Literal["layout", "column", "path-level", "regex", "tcga", "table", "none"] = "layout"
    column: str | None = None
    table: str | None = None
    level: int | None = Field(default=None, ge=1)
    pattern: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        needed = {"column": self.column, "path-level": self.level, "regex": self.pattern}
        names = {"column": "column", "path-level": "level", "regex": "pattern"}
        if self.rule in needed and needed[self.rule] is None:
            raise ValueError(f"the rule '{self.rule}' needs '{names[self.rule]}'")
        if self.table is not None and self.rule != "table":
            raise ValueError(f"the rule '{self.rule}' has no table; write 'rule: table'")
        return self


class SplitRule(Section):
    """How the images are divided into train, validation and test; all images of a subject stand on one side.

    Attributes:
        source: `subjects` draws folds by subject, `column` takes a catalog column with the values train,
            validation and test, `file` a table. In YAML the key is `from`.
        scheme: For `subjects`. `folds`: each part of the subjects validates once; `leave-one-out`: each subject does;
            `nested`: each part of the subjects is tested once, the others are divided into folds; `sizes`: training
            sets of growing numbers of subjects, to see what more subjects would bring.
        folds: Number of folds for cross-validation; 1 is a single division.
        stratify: In what folds are alike: `balance` in images and labels, `label-sets` in how many subjects have each
            label (iterative stratification), `none` in the number of subjects only; or a catalog column, such as a
            diagnosis, in how many subjects have each value.
        outer_folds: Of `nested`: into how many parts all subjects are divided for the test.
        sizes: Of `sizes`: numbers of training subjects (default: 1, 2, 3, …).
        repetitions: Of `sizes`: how many different training sets are drawn of each size.
        seed: Decides which subject goes where.
        test_subjects: Subjects that are kept aside in every fold.
        test_fraction: Fraction of the subjects to keep aside instead, 0-1.
        hidden_subjects: Subjects of a second test set, `test_hidden`, that is only reached by this name.
        validation_fraction: With one fold, the fraction of the remaining subjects used for validation, 0-1.
        known_images: So many images of each training subject are kept out of training, as the set `validation_known`
            (role extra): beside the validation of new subjects they show the gap between known and new ones.
        column: For `column`.
        file: For `file`: Parquet, CSV, or a data specification of htc (JSON); relative to study.yaml. A pattern such
            as `specs/pigs_nested-*.json` takes each file as an outer fold.
    """

    model_config = ConfigDict(populate_by_name=True)

    source: Literal["subjects", "column", "file"] = Field("subjects", alias="from")
    scheme: Literal["folds", "leave-one-out", "nested", "sizes"] = "folds"
    folds: int = Field(5, ge=1)
    stratify: str = "balance"
    outer_folds: int = Field(3, ge=2)
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    repetitions: int = Field(5, ge=1)
    seed: int = Field(0, ge=0)
    test_subjects: tuple[str, ...] = ()
    test_fraction: float = Field(0.0, ge=0, lt=1)
    hidden_subjects: tuple[str, ...] = ()
    known_images: int = Field(0, ge=0)
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    column: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.test_subjects and self.test_fraction:
            raise ValueError("give test_subjects or test_fraction, not both")
        both = sorted(set(self.test_subjects) & set(self.hidden_subjects))
        if both:
            raise ValueError(f"the subject '{both[0]}' is in test_subjects and in hidden_subjects")
        if self.source != "subjects" and getattr(self, self.source) is None:
            raise ValueError(f"'from: {self.source}' needs '{self.source}'")
        return self


class StudyConfig(Section):
    """A study, as described in `study.yaml`.

    Attributes:
        format: Of this file.
        name: Of the study.
        root: Folder with the images, relative to `study.yaml` or absolute.
        layout: How the files lie there.
        subjects: Where the subject of an image comes from.
        labels: The classes; None where there are none.
        layer: Which kind of annotation makes the masks, where there are several (`polygon`, `semantic`).
        annotators: In order of preference: an image is judged by the first who annotated it. Empty: by name.
        outside: Label of pixels outside all masks of an image with one mask a label; None means not annotated.
        overlap: Pixels in the masks or outlines of several labels: `ignore` counts them as not annotated, `last`
            gives them to the object that was drawn last (of mask files: the class listed last), `error` stops.
        table: CSV with metadata, relative to `study.yaml`; joined by image id, path or file name.
        unlisted: Images without a row in the table: `keep` them, or `leave-out`.
        label_column: Column of the catalog that holds a label of each whole image.
        open: Passed on when an image is opened, for example `{mpp: 0.5}` where files do not say.
        splits: How images are divided into train, validation and test.
    """

    format: str = STUDY_FORMAT
    name: str = Field(min_length=1)
    root: str = Field(min_length=1)
    layout: Component
    subjects: SubjectRule = SubjectRule()
    labels: LabelMapping | None = None
    layer: str | None = None
    annotators: tuple[str, ...] = ()
    outside: str | None = None
    overlap: Literal["ignore", "last", "error"] = "ignore"
    table: str | None = None
    unlisted: Literal["keep", "leave-out"] = "keep"
    label_column: str | None = None
    open: Mapping[str, Any] = Field(default_factory=dict)
    splits: SplitRule | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.outside is not None and (self.labels is None or self.outside not in self.labels.names):
            raise ValueError(f"outside names the unknown label '{self.outside}'")
        return self
