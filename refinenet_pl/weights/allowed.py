"""Lists of what the configuration in a file of a stranger may name: see `trust`."""

import re

Names = re.Pattern[str]

NETWORKS = re.compile(r"(refinenet_pl|segmentation_models_pytorch)\.([a-z][a-z0-9_]*\.)*[A-Z]\w*")
LOSSES = re.compile(
    r"refinenet_pl\.training\.losses\.[A-Z]\w*"
    r"|torch\.nn\.(modules\.loss\.)?[A-Z]\w*Loss"
    r"|segmentation_models_pytorch\.losses\.([a-z][a-z_]*\.)?[A-Z]\w*Loss"
)
OPTIMIZERS = re.compile(
    r"torch\.optim\.([a-z]+\.)?"
    r"(Adadelta|Adafactor|Adagrad|Adam|AdamW|Adamax|ASGD|LBFGS|Muon|NAdam|RAdam|RMSprop|Rprop|SGD|SparseAdam)"
    r"|timm\.optim\.([a-z][a-z_]*\.)?(Adan|Adopt|Lamb|Lars|Lion|Mars|NAdamW|NvNovoGrad|RMSpropTF|SGDP|SGDW)"
)
SCHEDULES = re.compile(r"refinenet_pl\.training\.schedules\.[A-Z]\w*")
DATA = re.compile(r"refinenet_pl\.data\.([a-z][a-z0-9_]*\.)?[A-Z]\w*DataModule")
TRANSFORMS = re.compile(
    r"torchvision\.transforms\.v2\.(_[a-z]+\.)?(?!(Lambda|Compose|RandomApply|RandomChoice|RandomOrder)$)[A-Z]\w*"
)
"""Transforms that neither call a function nor contain other transforms."""
LIGHTNING = r"(pytorch_lightning|lightning\.pytorch)"
CALLBACKS = re.compile(
    r"refinenet_pl\.training\.ema\.EMA"
    rf"|{LIGHTNING}\.callbacks\.([a-z][a-z_]*\.)*(DeviceStatsMonitor|EMAWeightAveraging|EarlyStopping"
    r"|GradientAccumulationScheduler|LearningRateMonitor|ModelCheckpoint|ModelSummary|RichModelSummary|RichProgressBar"
    r"|StochasticWeightAveraging|TQDMProgressBar|Timer)"
)
"""Callbacks that start no process, and that write to the run folder only, if at all."""
LOGGERS = re.compile(rf"{LIGHTNING}\.loggers\.([a-z][a-z_]*\.)?(CSVLogger|TensorBoardLogger|WandbLogger)")

PLACES: dict[str, Names] = {
    "model.network": NETWORKS,
    "model.loss": LOSSES,
    "model.optimizer": OPTIMIZERS,
    "model.schedule": SCHEDULES,
    "data": DATA,
    "trainer.callbacks": CALLBACKS,
    "trainer.logger": LOGGERS,
}
"""The keys of a configuration that hold classes, and which ones a file may name there."""

SECTIONS = ("seed_everything", "trainer", "model", "data", "checkpoint", "experiment", "pictures", "threads")
"""The sections that a file may set. Others say what a command reads and where it writes."""

TEXT = re.compile(
    r"data\.init_args\.(root|cache_dir|sbd_root|images|masks|(train|val|test)_list|class_names)|model\.(weights|encoder_weights)"
    r"|model\.preprocessing\.class_names|checkpoint\.monitor|trainer\.callbacks\.init_args\.monitor"
    r"|trainer\.default_root_dir"
)
"""Keys whose values are any text: files to read, and names. The run folder replaces `default_root_dir`."""
FOLDERS = ("dirpath", "save_dir", "dir", "output")
"""Keys of folders to write to. A file leaves them empty."""
REPLACED_FOLDERS = ("checkpoint.dirpath",)
"""Folders that the commands replace by the run folder."""
WANDB_ARGUMENTS = (
    *("project", "name", "group", "notes", "tags", "job_type", "id", "version", "prefix", "checkpoint_name"),
    *("log_model", "offline", "resume", "save_dir", "add_file_policy"),
)
"""Arguments of a W&B logger in a file. Others choose a server, an account or folders. The run folder replaces
`save_dir`."""
FILE_NAMES = ("experiment", "checkpoint.filename", "trainer.callbacks.init_args.filename")
"""Keys of names for files or folders. They lead nowhere else."""
WORDS = re.compile(r"[\w+%#:,=<> -]*|-?[0-9.]+(e[+-]?[0-9]+)?|\.[0-9][a-z]", re.ASCII)
"""Other text: no dots, as in names of classes; no slashes, as in paths; no quotes and braces, as in YAML."""
TABLES = ("label_ids", "split_folders")
"""Arguments of a data module that map any text or numbers to text or numbers."""
EXPRESSION_KEY = "data.init_args.split.groups"
REPEATED_GROUP = re.compile(r"\)[*+?{]")
LONG_REPEAT = re.compile(r"[*+]\??|\{\d*,\d*\}\??")
OPTIONAL = re.compile(r"(?<![(*+}])\?")
MOST_LONG_REPEATS, MOST_OPTIONAL = 3, 6
"""What a regular expression may repeat, so that a search in a name takes no long time."""
KEY = re.compile(r"[\w -]+")
"""Keys. A dot would make jsonargparse read a key as several."""
ENCODER = re.compile(r"[\w.-]+", re.ASCII)
"""Names of encoders. timm reads names with a colon or a slash as folders, or as files on a server."""
