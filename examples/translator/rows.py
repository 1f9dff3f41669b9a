"""The real translations and post-edits that the translator replays (SOURCE.md beside this file)."""

import csv
import gzip
import math
from dataclasses import dataclass
from pathlib import Path

EXCERPT = Path(__file__).with_name("mlqe_pe_en-de.csv.gz")


@dataclass(frozen=True, slots=True)
class Row:
    """One sentence: its source, its machine translation and what a post-editor made of it."""

    name: str
    source: str
    translation: str
    post_edit: str
    #: Human-targeted translation edit rate, in millionths, as the data set gives it.
    hter_ppm: int
    #: Mean direct assessment, 0 (useless) to 100 (perfect).
    assessment: float
    #: exp of the mean log-probability per token.
    confidence: float

    @property
    def is_edited(self) -> bool:
        """Whether the post-editor changed anything."""
        return self.post_edit != self.translation


def read_rows(path: Path = EXCERPT) -> list[Row]:
    """All rows in the order of the file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return [
            Row(
                name=f"{line['split']}-{line['idx']}",
                source=line["src"],
                translation=line["mt"],
                post_edit=line["pe"],
                hter_ppm=round(float(line["hter"]) * 1_000_000),
                assessment=float(line["da_mean"]),
                confidence=math.exp(float(line["model_score"])),
            )
            for line in csv.DictReader(lines)
        ]
