"""The ids that stand for media in a row of tokens. They are negative, so that no tokenizer can mean them."""

from vlframe.data.sample import MediaKind

IMAGE = -200
VIDEO = -201
AUDIO = -202

PLACEHOLDERS: dict[MediaKind, int] = {"image": IMAGE, "video": VIDEO, "audio": AUDIO}
