"""The data sets of Video-LLaMA's training in their published layouts, and mixtures of them.

Source: video_llama/datasets/datasets (webvid_datasets.py, cc_sbu_dataset.py, llava_instruct_dataset.py,
video_instruct_dataset.py) and processors/blip_processors.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlframe import ConfigError, LayoutMixture, RowLayout, Sample, row_fields, row_text, rows_of_csv, rows_of_json
from vlframe_videollama import rows


class Webvid(RowLayout):
    """``videoid, page_dir, name`` in one csv file, or in all of a folder; further columns are ignored."""

    def read(self) -> Sequence[tuple[str, Any]]:
        files = sorted(self.file.glob("*.csv")) if self.file.is_dir() else [self.file]
        if not files:
            raise ConfigError(f"dataset.path is {self.file}, a folder without a csv file")
        return [row for file in files for row in rows_of_csv(file, rows.WEBVID)]

    def sample(self, row: Any, name: str, where: str) -> Sample:
        video, page, words = (row_text(value, key, where) for value, key in zip(row, rows.WEBVID, strict=True))
        caption = rows.plain(words) if self.parameters["plain_captions"] else words.strip()
        return rows.caption(f"{page}/{video}", "video", self.root / page / f"{video}.mp4", caption, where)


class FilterCap(RowLayout):
    """``{"annotations": [{"image_id", "caption"}]}``; the picture of a row is ``<image_id>.jpg``."""

    def default_root(self) -> Path:
        return self.file.parent / "image"

    def read(self) -> Sequence[tuple[str, Any]]:
        return rows_of_json(self.file, inside="annotations")

    def sample(self, row: Any, name: str, where: str) -> Sample:
        picture, words = row_fields(row, ("image_id", "caption"), where)
        picture, words = str(picture), row_text(words, "caption", where)
        return rows.caption(f"{picture}/{name}", "image", self.root / f"{picture}.jpg", words, where)


class LlavaInstruct(RowLayout):
    """``[{"image", "conversations": [{"from", "value"}]}]``; ``<image>`` marks the picture's place in a text."""

    def read(self) -> Sequence[tuple[str, Any]]:
        return rows_of_json(self.file)

    def sample(self, row: Any, name: str, where: str) -> Sample:
        picture, said = row_fields(row, ("image", "conversations"), where, also=("id",))
        path = self.root / (self.parameters["prefix"] + row_text(picture, "image", where))
        return rows.conversation(name, path, said, where)


class VideoQA(RowLayout):
    """``[{"video", "QA": [{"q", "a"}]}]``; the clip comes before the first question."""

    def read(self) -> Sequence[tuple[str, Any]]:
        return rows_of_json(self.file)

    def sample(self, row: Any, name: str, where: str) -> Sample:
        video, said = row_fields(row, ("video", "QA"), where)
        return rows.questions(name, self.root / row_text(video, "video", where), said, where)


class Mixture(LayoutMixture):
    """The rows of Video-LLaMA's data sets, drawn by their weights."""

    layouts = {  # noqa: RUF012
        "webvid": Webvid,
        "filter_cap": FilterCap,
        "llava_instruct": LlavaInstruct,
        "video_qa": VideoQA,
    }
