"""The typed configuration: every key there is, its type, its default, and what it means.

Components are typed by their own rows (see ``registry``); here they are ``Any``. A dataclass that Hydra has checked
arrives in the code as a plain ``DictConfig`` of the same shape.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class MediaConfig:
    """How media files become arrays, and what happens to those that do not."""

    sampling: str = "uniform"  # uniform: `frames` midpoints over the clip; fps: `fps` frames a second, at most `frames`
    frames: int = 8
    fps: float = 1.0
    on_error: str = "raise"  # raise | skip: what an unreadable file does to the run; skips are counted and listed
    max_bad_share: float | None = 0.1  # with skip: the run stops above it (and above 10 samples); null = no limit
    timeout: float | None = None  # seconds a file may take, in a process that can be killed; null = decode in this one
    missing_audio: str = "error"  # error | drop | silence: a video without a sound track whose sound is asked for
    withhold: list[str] = field(default_factory=list)  # kinds (video, image, audio) the model is not shown: blind runs
    cache_mb: int = 0  # decoded media kept in memory by each process, so that a clip is decoded once


@dataclass
class TextConfig:
    """The room a conversation has."""

    context: int | None = None  # tokens, media included; null = what the language model was made for
    too_long: str = "error"  # error | drop (counted) | trim_text (never cuts media)


@dataclass
class LoraConfig:
    """Low-rank adapters (LoRA, Hu et al. 2021), by the peft library."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    targets: list[str] | None = None  # module names; null = every linear layer of the component, its output head aside


@dataclass
class PartConfig:
    """How one component is trained in a stage."""

    train: str = "frozen"  # frozen | full | lora
    lr: float | None = None  # null = the stage's
    weight_decay: float | None = None  # null = the stage's; norms and biases never decay
    lora: LoraConfig = field(default_factory=LoraConfig)


@dataclass
class StageConfig:
    """One leg of a run: what is trained, how, on which data. A run is an ordered mapping of these."""

    data: Any = None  # a dataset; null = the run's `dataset`
    steps: int | None = None  # optimizer steps; give this or `epochs`
    epochs: float | None = None
    batch_size: int = 8  # samples per device and micro-batch
    accumulate: int = 1  # micro-batches per optimizer step
    lr: float = 1e-3
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    warmup_ratio: float = 0.03  # share of the steps in which the rate climbs linearly; then half a cosine down
    final_lr_ratio: float = 0.0  # where the cosine ends, as a share of the peak
    clip: float = 1.0  # largest gradient norm; 0 = none
    fit: str | None = None  # crop | squash | pad: frames that are not square, in this stage; null = as the encoder says
    encoder: PartConfig = field(default_factory=PartConfig)
    connector: PartConfig = field(default_factory=PartConfig)
    audio_encoder: PartConfig = field(default_factory=PartConfig)
    audio_connector: PartConfig = field(default_factory=PartConfig)
    llm: PartConfig = field(default_factory=PartConfig)


@dataclass
class LoaderConfig:
    workers: int = 0  # processes that decode; 0 = the training process itself
    prefetch: int = 2  # batches ahead, per worker


@dataclass
class TrainerConfig:
    """The machine side of a run; nothing here changes what is computed but `precision`."""

    precision: str = "32"  # 32 | bf16
    gradient_checkpointing: bool = False  # parts that can recompute activations in the backward pass, to save memory
    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"  # auto, ddp: every rank has the whole model; fsdp: the language model is in shards
    threads: int | None = None  # CPU threads for torch; null = torch's own choice
    log_every: int = 10  # optimizer steps
    checkpoint_every: int = 500  # optimizer steps; there is always one at the end of a stage
    keep_checkpoints: int = 2  # how many of a stage stay on disk; the older is for when the newest is torn
    max_time: str | None = None  # DD:HH:MM:SS; the run stops cleanly after it
    progress: bool = True


@dataclass
class EvaluationConfig:
    batch_size: int = 16
    blind: bool = False  # ask every question once more without the media, for `blind_accuracy`
    media_in_tables: int = 16  # predictions that are logged with their media


@dataclass
class PluginsConfig:
    paths: list[str] = field(default_factory=list)  # single Python files that are plugins
    strict: bool = False  # a plugin that does not load is fatal


@dataclass
class InitConfig:
    """Weights that a run starts from, beside those of the parts' own sources."""

    run: str | None = None  # a run folder, or what `vlframe convert` wrote; its newest checkpoint is read
    parts: list[str] | None = None  # which parts to take from it; null = all that it holds


@dataclass
class RunConfig:
    """Everything a run is made of."""

    name: str = "default"  # the experiment; the folder under `runs`
    runs: str = "runs"
    seed: int = 0
    resume: str | None = None  # a run folder to go on with, by its own config and what is changed beside this key
    resume_changes: str = "refuse"  # refuse | allow: changes to a resumed run that alter what it computes
    plugins: PluginsConfig = field(default_factory=PluginsConfig)
    encoder: Any = None
    connector: Any = None
    audio_encoder: Any = None  # null = no sound
    audio_connector: Any = None
    llm: Any = None
    reader: Any = None
    dataset: Any = None
    benchmark: Any = None
    protocol: Any = None  # another system's data path, to the letter; null = vlframe's own
    init: InitConfig = field(default_factory=InitConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    text: TextConfig = field(default_factory=TextConfig)
    stages: dict[str, StageConfig] = field(default_factory=dict)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    logger: dict[str, Any] = field(
        default_factory=dict
    )  # Lightning loggers by name, beside the CSV that is always there
    callbacks: dict[str, Any] = field(default_factory=dict)  # Lightning callbacks by name


@dataclass
class EvaluateConfig:
    """`vlframe evaluate`: a finished run, and what to change about its evaluation."""

    run: str = "???"
    benchmark: Any = None  # null = the run's own
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    media: dict[str, Any] = field(default_factory=dict)  # keys of the run's `media` to change
    trainer: dict[str, Any] = field(default_factory=dict)
    plugins: PluginsConfig = field(default_factory=PluginsConfig)


@dataclass
class PredictConfig:
    """`vlframe predict`: a finished run, media files and a question."""

    run: str = "???"
    prompt: str = "???"
    media: Any = None  # a path or a list of paths
    sound: bool = False  # also hear a video's own track
    max_new_tokens: int = 128
    temperature: float = 0.0  # 0 = greedy
    plugins: PluginsConfig = field(default_factory=PluginsConfig)


@dataclass
class ConvertConfig:
    """`vlframe convert`: somebody else's checkpoint into a folder that is used like a run."""

    source: str = "???"  # a folder, or a file in one
    out: str = "???"  # a new folder
    layout: str = "videollama2"
    base: str | None = None  # the language model of a checkpoint that holds none: a folder or a hub id
    vision: str | None = None  # the vision tower: a folder with its config.json, or a hub id that has a preset
    audio: str | None = None  # a BEATs file with its cfg, where the checkpoint has none
    plugins: PluginsConfig = field(default_factory=PluginsConfig)


@dataclass
class ExportConfig:
    """`vlframe export`: a run, or what was converted, in somebody else's layout."""

    run: str = "???"
    out: str = "???"  # a new folder
    layout: str = "videollama2"
    plugins: PluginsConfig = field(default_factory=PluginsConfig)


CHOICES = {
    "media.sampling": ("uniform", "fps"),
    "media.on_error": ("raise", "skip"),
    "media.missing_audio": ("error", "drop", "silence"),
    "text.too_long": ("error", "drop", "trim_text"),
    "trainer.precision": ("32", "bf16"),
    "trainer.strategy": ("auto", "ddp", "fsdp"),
    "resume_changes": ("refuse", "allow"),
    "trainer.accelerator": ("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
}
VALUES_OF_LISTS = {"media.withhold": ("video", "image", "audio")}
TRAINED = ("frozen", "full", "lora")
# The least and the most that numbers may be; those of a stage without the stage's name.
LEAST: dict[str, float] = {
    "media.frames": 1,
    "media.cache_mb": 0,
    "media.max_bad_share": 0,
    "text.context": 1,
    "loader.workers": 0,
    "loader.prefetch": 1,
    "trainer.devices": 1,
    "trainer.threads": 1,
    "trainer.log_every": 1,
    "trainer.checkpoint_every": 1,
    "trainer.keep_checkpoints": 1,
    "evaluation.batch_size": 1,
    "evaluation.media_in_tables": 0,
    "max_new_tokens": 1,
    "temperature": 0,
    "lora.rank": 1,
    "lora.dropout": 0,
}
STAGE_LEAST: dict[str, float] = {
    "steps": 1,
    "batch_size": 1,
    "accumulate": 1,
    "lr": 0,
    "weight_decay": 0,
    "warmup_ratio": 0,
    "final_lr_ratio": 0,
    "clip": 0,
}
MOST: dict[str, float] = {"media.max_bad_share": 1, "warmup_ratio": 1, "lora.dropout": 1}
ABOVE_ZERO = ("media.fps", "media.timeout", "stage.epochs", "lora.alpha")
# What a command cannot do without, and what that looks like.
REQUIRED = {"run": "runs/quickstart/<id>", "prompt": '"What happens?"', "source": "<folder>", "out": "<new folder>"}
PARTS = ("encoder", "connector", "audio_encoder", "audio_connector", "llm")
