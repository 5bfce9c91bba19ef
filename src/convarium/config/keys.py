"""What is known about each key of an experiment, one row a key: what it accepts, what it means, and which part it has.

The type of a key is that of its value in the yaml; a row adds ranges, words, and more types where a key takes several.
A key of somebody's own yaml that has no row takes any value of its yaml's type. No torch here.
"""

import math
import re
from enum import Flag, auto
from typing import Any, NamedTuple

from convarium.config.accepts import (
    BATCHES,
    BETTER,
    CLASS_WEIGHTS,
    COUNT,
    DIVISOR,
    ERASED,
    FOLDER_NAME,
    INTERPOLATION,
    LENGTH,
    NOT_EMPTY,
    POSITIVE_LENGTH,
    SECONDS,
    SHARE,
    SHARE_BELOW_ONE,
    SIDE,
    SIDES,
    SOME_BATCHES,
    SOME_SHARE,
    TIME,
    TWO_SHARES_BELOW_ONE,
    WEIGHTS,
    Accepts,
    above,
    ascending,
    at_least,
    auto_or,
    between,
    has_type,
    matching,
    shown,
    words,
)
from convarium.errors import ConfigError
from convarium.wording import nearest

# Which part a key has


class Part(Flag):
    """The part of a key in what happens to its experiment; a key has the parts of its group as well."""

    NONE = 0
    LAYOUT = auto()  # where, under which name and how fast: does not determine the result, and may change on resume
    RESULT = auto()  # determines the result, whatever its group says
    RESUME = auto()  # determines the result, and may change on resume all the same
    GROWS = auto()  # may become larger on resume
    EVALUATE = auto()  # may be given to an evaluation
    NETWORK = auto()  # chooses the network of an evaluation without a run
    TRAINING = auto()  # has a part in training only, whatever its group has
    UNSEEN = auto()  # neither the network's shapes nor the devices depend on it
    PATH = auto()  # a path, made absolute when the config is composed
    TEXT = auto()  # text, also where it looks like a number
    DERIVED = auto()  # follows another key where its yaml says so, and is set there
    OUTWARD = auto()  # where something is kept or sent beside the run's folder: only the person says it
    ONCE = auto()  # of one command, not of the sweep that it goes on with


NONE = Part.NONE
LAYOUT, RESULT, RESUME, GROWS, EVALUATE, NETWORK, TRAINING, UNSEEN, PATH, TEXT, DERIVED, OUTWARD, ONCE = Part


class Key(NamedTuple):
    """A row of the table."""

    name: str
    """The dotted key, or `*.name` for a name that means the same in every group."""
    meaning: str
    accepts: Accepts | None = None
    """None: any value of the yaml's type."""
    part: Part = Part.NONE


# fmt: off
ROWS = (
    # name, meaning, what it accepts, its part
    # the experiment
    Key("name", "what the experiment is called; null: made of arch, data, parts and augment", NOT_EMPTY.or_null(), LAYOUT | TEXT | UNSEEN),
    Key("choices", "the answer of each group, for whoever reads the config", part=LAYOUT | UNSEEN | DERIVED),
    Key("config_dir", "the folder of --config-dir, for whoever goes on with a run", NOT_EMPTY.or_null(), LAYOUT | UNSEEN | DERIVED),
    Key("seed", "of the weights, the order of the samples, augmentation and dropout", at_least(0), UNSEEN),
    Key("batch_size", "global: devices x nodes x trainer.accumulate_grad_batches x what one device holds at a time", COUNT),
    Key("dropout", "the rate of every dropout layer; null: as in the paper", SHARE_BELOW_ONE.of(int, float).or_null()),
    Key("decay", "what weight decay touches: weights of convolutions and linear layers, or all", words("weights", "all"), UNSEEN),
    Key("threads", "of each process; null: $OMP_NUM_THREADS, or the cores shared out among the processes", between(1, 1024).of(int).or_null(), LAYOUT | EVALUATE | UNSEEN),
    Key("report", "whether a run ends in a page, RUN/report.html", part=LAYOUT | UNSEEN),
    Key("run_dir", "the run's folder; null: runs/<day>/<time>-<name>-<hash>", NOT_EMPTY.or_null(), LAYOUT | PATH | TEXT | UNSEEN),
    Key("weights", "to begin with: torchvision:NAME, a file, or a run's folder; null: those that init draws", WEIGHTS.or_null(), NETWORK | PATH | TEXT),
    Key("resume", "the folder of an earlier run, to go on where it ended", NOT_EMPTY.or_null(), LAYOUT | PATH | TEXT | UNSEEN),
    Key("test.weights", "which weights the test split is shown to: best (by validation) or last", words("best", "last"), RESUME),
    Key("test.views", "crops of each picture, whose probabilities are averaged: 1, 10 or 144", Accepts("1, 10, 144", lambda value: value in (1, 10, 144)), EVALUATE),
    Key("test.dense", "whether the network is applied at all positions of the whole picture", part=EVALUATE),
    Key("test.scales", "shorter sides of the picture with test.dense; null: data.image_size / data.crop_share", SIDES.or_null(), EVALUATE),
    Key("test.flip", "whether mirror images are shown too, of 1 view or dense", part=EVALUATE),
    Key("test.shift", "pixels by which images are moved, each way, for test/consistency and test/shifted_acc1; null: none", at_least(1).of(int).or_null(), EVALUATE),
    Key("sweep", "how the jobs of a sweep (-m) are run", part=LAYOUT | UNSEEN),
    Key("sweep.name", "the folder below sweeps/; null: made of the base config and the swept axes", FOLDER_NAME.or_null(), TEXT),
    Key("sweep.jobs", "jobs at a time; auto: as the GPUs allow, on a CPU as its cores do", auto_or(between(1, 10_000), int)),
    Key("sweep.devices_per_job", "auto: trainer.devices; or a share of one GPU, 0.25: four jobs on each", auto_or(SOME_SHARE, int, float)),
    Key("sweep.isolation", "fork of a process that has imported everything, or spawn a new one; auto: fork on Linux", words("auto", "fork", "spawn")),
    Key("sweep.on_error", "what a failed job means: continue with the others, stop, or retry it", words("continue", "stop", "retry")),
    Key("sweep.retries", "attempts more for a job with sweep.on_error=retry", between(1, 1_000)),
    Key("sweep.retry_failed", "whether failed jobs are run again when the command is given again", part=ONCE),
    Key("sweep.timeout", "seconds without a sign of life after which a job is ended; null: never", SECONDS.of(int, float).or_null()),
    Key("sweep.dry_run", "true: list the jobs and run none", part=ONCE),
    Key("search", "how the points of a search (-m hydra/sweeper=optuna) are chosen", part=LAYOUT | UNSEEN),
    Key("search.trials", "points in all; the same command goes on to so many", between(1, 100_000)),
    Key("search.sampler", "what chooses them; auto: gp up to 100 trials, tpe above, nsga2 for two objectives", words("auto", "gp", "tpe", "random", "cmaes", "grid", "nsga2")),
    Key("search.seed", "of the sampler", at_least(0)),
    Key("search.objective", "what is to be best: a metric or a fact of the run, or a list of two; null: callbacks.checkpoint.monitor", NOT_EMPTY.of().or_null()),
    Key("search.pruner", "ends jobs that are behind: none, asha, median or hyperband", words("none", "asha", "median", "hyperband")),
    Key("search.floor", "epochs past the warm-up of the schedule before a job is pruned", between(1, 1_000_000)),
    Key("search.space", "what is searched where the command line does not say it: key -> interval, range or choice"),
    Key("study", "a question, the sweep that answers it, and what is claimed of the numbers", part=LAYOUT | UNSEEN),
    Key("study.size", "which of its sweeps is run: laptop, or full, the paper's own set-up", NOT_EMPTY),
    Key("parts", "the exchangeable layers as an architecture receives them", part=DERIVED),
    # what is trained
    Key("arch", "what is trained", part=NETWORK),
    Key("arch.in_channels", "channels of an image, those of the data", part=DERIVED),
    Key("arch.num_classes", "logits, those that the data's classes need", part=DERIVED),
    Key("arch.image_size", "side of an image, that of the data", part=DERIVED),
    Key("arch.parts", "the exchangeable layers: norm, activation, pool, init, dropout", part=DERIVED),
    Key("arch.depth", "layers, as the paper names the network"),
    Key("arch.configuration", "column of the paper's table"),
    Key("arch.variant", "member of the family"),
    Key("arch.shortcut", "none (a plain network), A (zeros), B (1x1 where shapes change) or C (1x1 everywhere)"),
    Key("arch.downsample_in", "which convolution of a bottleneck has the stride: 1x1 as in the paper, 3x3 as torchvision", words("1x1", "3x3")),
    Key("arch.stem", "paper, small, or auto: small up to 64 pixels", words("auto", "paper", "small")),
    Key("arch.zero_init_residual", "whether every block starts as its shortcut"),
    Key("arch.stochastic_depth", "rate that the blocks' rates rise towards; 0: none", SHARE_BELOW_ONE),
    Key("arch.padding", "of convolutions: same or valid, or auto; of EfficientNets same (TensorFlow) or symmetric (torchvision)"),
    Key("arch.aux_heads", "whether there are auxiliary classifiers"),
    Key("arch.count_padding", "whether averages count the padding; true: as torchvision's weights"),
    Key("arch.table", "which of the paper's contradicting figures hold: filters or depths", words("filters", "depths")),
    Key("arch.first_conv", "dense, or separable as the paper's text has it", words("dense", "separable")),
    Key("arch.towers", "1, or 2 as on the paper's two GPUs", between(1, 2)),
    Key("arch.pattern", "INPUT -> [...]*N -> FC, of CONV64 -> RELU, POOL3x3s2, GAP (global average), BN, DROPOUT40, FC128 -> RELU", NOT_EMPTY),
    Key("arch.num_convs", "N of the pattern: convolutions in a block", between(0, 999)),
    Key("arch.pooled", "whether the pattern's POOL? is there"),
    Key("arch.widths", "maps of each block of the pattern", COUNT),
    Key("arch.hidden", "units of each hidden layer", COUNT),
    Key("arch.kernel_size", "side of the pattern's convolutions", between(1, 999)),
    Key("arch.last_pool", "side of the last pooling's window", between(2, 3)),
    Key("norm", "with which normalization", part=NETWORK),
    Key("norm.momentum", "weight of the new batch in the running statistics", SHARE_BELOW_ONE),
    Key("norm.eps", "added to the variance", at_least(1e-12)),
    Key("norm.groups", "groups of channels, at most: the largest divisor of the channels that fits", COUNT),
    Key("norm.channels_per_group", "channels in a group, at least; 1 is instance norm", COUNT),
    Key("norm.n", "channels that are summed over", between(1, 65536)),
    Key("norm.k", "constant of the sum, without which maps that are all 0 would be 0/0", between(1e-6, 1e6)),
    Key("norm.alpha", "factor of the sum of squares", at_least(0)),
    Key("norm.beta", "exponent of the sum", between(0, 2)),
    Key("activation", "with which activation", part=NETWORK),
    Key("activation.negative_slope", "slope below 0"),
    Key("activation.alpha", "limit below 0, with a minus sign"),
    Key("activation.approximate", "none, or tanh", words("none", "tanh")),
    Key("pool", "with which pooling", part=NETWORK),
    Key("pool.count_include_pad", "whether an average counts the padding"),
    Key("init", "with which initialization", part=UNSEEN),
    Key("init.gain", "factor of the standard deviation", above(0)),
    Key("init.std", "standard deviation of the weights", above(0)),
    Key("init.ones", "layers whose biases begin at 1"),
    Key("init.weights", "a run, or its weights.safetensors, with whose layers some begin", NOT_EMPTY, PATH),
    Key("init.modules", "the layers that begin with those weights"),
    # on what
    Key("data", "on what", part=EVALUATE),
    Key("data.root", "the folder or table of images, or of all published datasets", NOT_EMPTY, LAYOUT | PATH | TEXT),
    Key("data.name", "what the dataset is called"),
    Key("data.torchvision", "the class of torchvision.datasets that reads it"),
    Key("data.split", "which of the dataset's own parts"),
    Key("data.num_classes", "classes; 1: binary data for one logit", between(1, 1_000_000)),
    Key("data.classes", "their names in the order of their numbers; null: the numbers"),
    Key("data.wnids", "the class folders in the order of the class numbers; null: sorted"),
    Key("data.class_order", "of ImageNet: sorted by WNID, or devkit: by ILSVRC2012_ID", words("sorted", "devkit")),
    Key("data.channels", "3: colour; 1: grey", between(1, 1024)),
    Key("data.image_size", "side of an image as the network sees it, in pixels", SIDE),
    Key("data.stored_size", "side of an image as it is stored, in pixels", SIDE),
    Key("data.resize", "how a stored image gets its size: pad with background, or bilinear", words("bilinear", "pad")),
    Key("data.crop_share", "side of the central square as a share of the resized shorter side", SOME_SHARE),
    Key("data.mean", "of each channel, of pixels from 0 to 1", between(-256, 256)),
    Key("data.std", "of each channel, of pixels from 0 to 1", at_least(1e-6)),
    Key("data.train_size", "images of the training split, checked; null: whatever there is", COUNT.of(int).or_null()),
    Key("data.test_size", "images of the test split, checked", at_least(0)),
    Key("data.val_fraction", "share of train set aside for validation where there is no such split", SHARE_BELOW_ONE),
    Key("data.split_seed", "chooses which images are set aside", at_least(0)),
    Key("data.folds", "equal parts of the training split in a cross-validation", between(2, 1_000_000)),
    Key("data.fold", "which of them validates, from 0; null: none, but data.val_fraction", at_least(0).of(int).or_null()),
    Key("data.sampler", "shuffle: each image once an epoch; balanced: each class as often as any other", words("shuffle", "balanced"), TRAINING),
    Key("data.archive", "where the dataset is downloaded from", NOT_EMPTY),
    Key("data.md5", "of that archive", matching("[0-9a-f]{32}", "32 hexadecimal digits")),
    Key("data.in_memory", "whether files are decoded once and kept; null: if they fit and no crop needs larger ones", Accepts("true or false", lambda value: True, (bool,)).or_null()),
    Key("data.cache", "the folder that keeps decoded splits for the next run; null: none", NOT_EMPTY.or_null(), LAYOUT | OUTWARD),
    Key("data.cache_dir", "the folder that keeps samples from elsewhere; null: none", NOT_EMPTY.or_null(), LAYOUT | OUTWARD | PATH | TEXT),
    Key("data.cache_gb", "how much it keeps at most, in 10^9 bytes; null: everything", above(0).of(int, float).or_null(), LAYOUT),
    Key("data.num_workers", "threads that decode; null: one per core; 0: none beside the one that trains", between(0, 1024).of(int).or_null(), LAYOUT),
    Key("data.reader", "the library that decodes; auto: the fastest there is", words("auto", "turbojpeg", "simplejpeg", "pillow")),
    Key("data.on_bad_file", "what a file that cannot be read does: raise, skip, or replace", words("raise", "skip", "replace")),
    Key("data.batch_size", "that of the experiment", COUNT, TRAINING | DERIVED),
    Key("data.eval_batch_size", "images at a time in validation and test, over all devices", COUNT, LAYOUT),
    Key("data.seed", "that of the experiment", part=TRAINING | UNSEEN | DERIVED),
    Key("data.augment", "the parts of the augmentation", part=TRAINING | DERIVED),
    Key("data.drop_last", "whether an epoch's incomplete last batch is left out", part=TRAINING),
    Key("augment", "changed how, at random, in training"),
    Key("augment.crop.pad", "black pixels around the image before it is cut", between(0, 16384)),
    Key("augment.*.mirror", "one image in two: random, alternating between epochs, or none", words("random", "alternating", "none")),
    Key("augment.crop.scale", "share of the picture's area, from and to", ascending(0, 1)),
    Key("augment.crop.ratio", "width to height, from and to", ascending(0)),
    Key("augment.crop.shorter", "shorter side of the resized picture, from and to, for crops of 224", ascending(223, 16384)),
    Key("augment.crop.central", "whether only the picture's central square is cut from"),
    Key("augment.geometry.rotation", "degrees, either way", between(0, 180)),
    Key("augment.geometry.width_shift", "share of the width, either way", SHARE),
    Key("augment.geometry.height_shift", "share of the height, either way", SHARE),
    Key("augment.geometry.shear", "degrees, either way; of lenet_distort pixels a row", between(0, 89)),
    Key("augment.geometry.zoom", "each axis by a factor up to so much above and below 1", SHARE_BELOW_ONE),
    Key("augment.geometry.horizontal_flip", "whether one image in two is mirrored"),
    Key("augment.geometry.fill_mode", "what lies outside: nearest, the border goes on; constant, cval", words("nearest", "constant")),
    Key("augment.geometry.cval", "level of what is moved in from outside", between(0, 255)),
    Key("augment.geometry.translate", "share of the side, either way", SHARE),
    Key("augment.geometry.scale", "times larger or smaller, above 1", at_least(0)),
    Key("augment.geometry.squeeze", "times narrower and taller, or the reverse, above 1", at_least(0)),
    Key("augment.geometry.alpha", "strength of the distortion", at_least(0)),
    Key("augment.geometry.sigma", "its smoothness, in pixels", between(0.1, 1000)),
    Key("augment.policy.policy", "the dataset that it was found on", words("imagenet", "cifar10", "svhn")),
    Key("augment.policy.num_ops", "operations on each image", between(1, 16)),
    Key("augment.policy.magnitude", "their strength", between(0, 30)),
    Key("augment.policy.severity", "their strength", between(1, 10)),
    Key("augment.policy.width", "chains of operations", between(1, 16)),
    Key("augment.policy.depth", "operations in a chain; 0: one to three at random", between(0, 16)),
    Key("augment.policy.all_ops", "whether brightness, colour, contrast and sharpness are among them"),
    Key("augment.policy.interpolation", "nearest or bilinear", INTERPOLATION),
    Key("augment.policy.fill", "level of what is moved in from outside", between(0, 255)),
    Key("augment.color.brightness", "by a factor up to so much above and below 1", at_least(0)),
    Key("augment.color.contrast", "by a factor up to so much above and below 1", at_least(0)),
    Key("augment.color.saturation", "by a factor up to so much above and below 1", at_least(0)),
    Key("augment.color.hue", "share of the colour circle, either way", between(0, 0.5)),
    Key("augment.lighting.std", "standard deviation of the shift along the principal colours", at_least(0)),
    Key("augment.erase.p", "probability", SHARE),
    Key("augment.erase.scale", "share of the image's area, from and to", ascending(0, 1)),
    Key("augment.erase.ratio", "height to width, from and to", ascending(0)),
    Key("augment.erase.value", "what is put there: random, zero or mean; of a cutout a level for each channel", ERASED),
    Key("augment.erase.size", "side of the square, in pixels", SIDE),
    Key("augment.mix.alpha", "of the beta distribution of the shares", DIVISOR),
    # how
    Key("loss", "what is minimized", part=NETWORK),
    Key("loss.*.label_smoothing", "share of the target that is spread over all classes", SHARE_BELOW_ONE),
    Key("loss.*.aux_weight", "of each auxiliary classifier's loss beside the main one", at_least(0)),
    Key("loss.*.class_weights", "what a sample counts in training, by its class; balanced: each class counts alike", CLASS_WEIGHTS.or_null()),
    Key("loss.*.margin", "by which a wrong class must stay below the right one", above(0)),
    Key("loss.*.on", "what is squared: the distance of the scores, or of the probabilities (softmax, sigmoid)", words("scores", "probabilities")),
    Key("loss.*.rubbish_distance", "of the class that no sample is of", above(0)),
    Key("loss.*.power", "1, or 2: what is missing is squared", Accepts("1 or 2", lambda value: value in (1, 2))),
    Key("loss.heads", "the losses of the auxiliary classifiers in their order"),
    Key("loss.weights", "their weights in the same order", at_least(0)),
    Key("metrics", "what is measured beside the loss", part=EVALUATE),
    Key("metrics.*.top", "how many of the highest logits count", COUNT),
    Key("metrics.*.num_classes", "classes, those of the data", COUNT, DERIVED),
    Key("optimizer", "how the weights are changed", part=UNSEEN),
    Key("*.lr", "learning rate, which the schedule multiplies", at_least(0)),
    Key("*.weight_decay", "share of the weights that is taken off, as the optimizer defines it", at_least(0)),
    Key("*.momentum", "share of the last step that goes on", SHARE_BELOW_ONE),
    Key("*.dampening", "share of the gradient that does not enter the momentum", SHARE_BELOW_ONE),
    Key("*.nesterov", "whether the momentum looks ahead"),
    Key("*.betas", "of the running means of the gradient and of its square", TWO_SHARES_BELOW_ONE),
    Key("*.eps", "added to a denominator", DIVISOR),
    Key("*.amsgrad", "whether the largest mean square so far is kept"),
    Key("*.centered", "whether the mean of the gradient is taken off"),
    Key("optimizer.alpha", "of the running mean of the gradient's square", SHARE_BELOW_ONE),
    Key("*.lr_decay", "by which the rate falls with the steps", at_least(0)),
    Key("*.initial_accumulator_value", "sum of squares to begin with", at_least(0)),
    Key("*.adamw_lr", "learning rate of what AdamW takes", at_least(0)),
    Key("*.adamw_betas", "betas of what AdamW takes", TWO_SHARES_BELOW_ONE),
    Key("*.adamw_eps", "eps of what AdamW takes", DIVISOR),
    Key("*.newton_schulz_steps", "iterations that orthogonalize", between(1, 100)),
    Key("*.trust", "share of the weights' norm that a step has", above(0)),
    Key("*.fused", "whether a step is one kernel"),
    Key("*.foreach", "whether a step takes all tensors together"),
    Key("schedule", "the learning rate over the run", part=UNSEEN),
    Key("schedule.warmup", "length of the rise at the start", LENGTH),
    Key("schedule.warmup_factor", "makes the warm-up constant; null: it rises", SOME_SHARE.of(int, float).or_null()),
    Key("schedule.milestones", "where the rate is multiplied by gamma", POSITIVE_LENGTH),
    Key("schedule.every", "after which the rate is multiplied by gamma, again and again", POSITIVE_LENGTH),
    Key("schedule.gamma", "factor on the rate; a list has one for each milestone", SOME_SHARE),
    Key("schedule.power", "of the share of the run still to come", above(0)),
    Key("schedule.start", "factor at the first step", SOME_SHARE),
    Key("schedule.final", "factor at the last step", SHARE),
    Key("schedule.monitor", "the figure that must become better", NOT_EMPTY),
    Key("schedule.mode", "whether better is lower (min) or higher (max); auto: as the metric has it", BETTER),
    Key("schedule.patience", "validations without a better one that are waited for", at_least(0)),
    Key("schedule.threshold", "share of the best by which better must be better", SHARE),
    Key("schedule.cooldown", "validations that do not count after a cut", at_least(0)),
    Key("schedule.min_factor", "below which the factor does not fall", SHARE),
    Key("clip", "how gradients are limited", part=UNSEEN),
    Key("clip.max_norm", "of all gradients together", above(0)),
    Key("clip.max_value", "of each entry", above(0)),
    Key("clip.factor", "of the weights' norm, unit by unit", above(0)),
    Key("average", "which average of the weights is validated and tested", part=UNSEEN),
    Key("average.decay", "share of the old average", SHARE_BELOW_ONE),
    Key("average.warmup", "the larger, the longer the first weights are forgotten sooner", at_least(1)),
    Key("average.start", "from where the mean is taken", LENGTH),
    # where, and until when
    Key("trainer", "where, and until when", part=EVALUATE),
    Key("trainer.accelerator", "auto: the best found; cpu, gpu, cuda, mps", words("auto", "cpu", "gpu", "cuda", "mps"), LAYOUT | EVALUATE),
    Key("trainer.devices", "of each machine; on a CPU processes; auto: all there are", auto_or(between(1, 1024), int), LAYOUT | EVALUATE),
    Key("trainer.num_nodes", "machines", between(1, 16384), LAYOUT | TRAINING),
    Key("trainer.strategy", "how several devices train together", words("auto", "ddp", "ddp_find_unused_parameters_true"), LAYOUT | TRAINING),
    Key("trainer.max_epochs", "after which training ends", COUNT, GROWS | TRAINING),
    Key("trainer.max_steps", "optimizer steps after which training ends; -1: no limit but max_epochs", Accepts("at least 1, or -1 for no limit", lambda value: value == -1 or value >= 1), GROWS | TRAINING),
    Key("trainer.max_time", "after which training ends", TIME.or_null(), RESUME | TRAINING),
    Key("trainer.accumulate_grad_batches", "micro-batches whose gradients make a step", COUNT, TRAINING),
    Key("trainer.limit_train_batches", "how much of the training split an epoch has", SOME_BATCHES, TRAINING),
    Key("trainer.limit_val_batches", "how much of the validation split is looked at", BATCHES),
    Key("trainer.limit_test_batches", "how much of the test split is looked at", BATCHES),
    Key("trainer.overfit_batches", "how much of the training split is trained on in every epoch, in one order", BATCHES, TRAINING),
    Key("trainer.val_check_interval", "in epochs up to 1.0, in micro-batches as a whole number", SOME_BATCHES, TRAINING),
    Key("trainer.check_val_every_n_epoch", "epochs from one validation to the next", COUNT, TRAINING),
    Key("trainer.log_every_n_steps", "optimizer steps from one logged row to the next", COUNT, LAYOUT | TRAINING),
    Key("trainer.fast_dev_run", "true, or a number: so many batches of everything, to see whether it runs", at_least(0).of(bool, int), TRAINING),
    Key("trainer.deterministic", "whether only deterministic kernels are used; warn: say where not", Accepts("true, false or warn", lambda value: value in (True, False, "warn"), (bool, str))),
    Key("trainer.benchmark", "whether cuDNN times its kernels for the first batches", part=LAYOUT),
    Key("trainer.detect_anomaly", "whether autograd looks for the operation that made a nan", part=LAYOUT | TRAINING),
    Key("trainer.profiler", "Lightning's, into RUN/profile: simple (hooks), advanced (calls) or pytorch (operations)", words("simple", "advanced", "pytorch").or_null(), LAYOUT | TRAINING | UNSEEN),
    Key("precision", "in which number formats", part=EVALUATE),
    Key("precision.mode", "Lightning's name of the precision", words("32-true", "bf16-mixed", "16-mixed")),
    Key("precision.float32_matmul", "what GPUs may do to float32 products: high allows TF32", words("highest", "high", "medium")),
    Key("stop", "when training ends before its last epoch", part=RESUME | UNSEEN),
    Key("stop.mode", "whether better is lower (min) or higher (max); auto: as the metric has it", BETTER),
    Key("*.monitor", "the figure that decides", NOT_EMPTY),
    Key("*.patience", "validations without a better one after which it stops", COUNT),
    Key("*.min_delta", "by which better must be better", at_least(0)),
    # what is written down and drawn
    Key("logger", "what else is written down; metrics.csv always is", part=LAYOUT | UNSEEN),
    Key("logger.*.project", "of the tracker; null: as its variable says, or convarium", NOT_EMPTY.or_null(), TEXT),
    Key("logger.*.entity", "whose; null: the key's own", NOT_EMPTY.or_null(), TEXT),
    Key("logger.*.experiment", "of the tracker; null: as its variable says, or convarium", NOT_EMPTY.or_null(), TEXT),
    Key("logger.*.name", "of the run there; null: as the tracker's variable says, or the run's own", NOT_EMPTY.or_null(), TEXT),
    Key("logger.*.group", "of runs there; null: as the tracker's variable says, or the sweep's name", NOT_EMPTY.or_null(), TEXT),
    Key("logger.*.tags", "of the run there"),
    Key("logger.*.notes", "on the run there", NOT_EMPTY.or_null(), TEXT),
    Key("logger.*.id", "of the run there; null: as its variable says, a new one, or that of the run that is resumed", matching(r"[^/\\#?%:]+", r"text without / \ # ? % :").or_null(), TEXT),
    Key("logger.*.job_type", "of the run there", NOT_EMPTY.or_null(), TEXT),
    Key("logger.*.tracking_uri", "where it is tracked; null: in the run's folder, or as the environment says", part=OUTWARD),
    Key("logger.wandb.mode", "auto: online where there is a key and a network", words("auto", "online", "offline", "disabled")),
    Key("*.flush_seconds", "after which rows reach the disk", SECONDS),
    Key("callbacks", "what watches", part=LAYOUT | UNSEEN),
    Key("*.every_n_steps", "optimizer steps from one last.ckpt to the next; null: by time and epochs", COUNT.of(int).or_null()),
    Key("*.every_n_minutes", "minutes from one last.ckpt to the next; null: by steps and epochs", above(0).of(int, float).or_null()),
    Key("callbacks.gradient_flow.every_n_steps", "optimizer steps from one observed step to the next; before the first of them 1, 2, 4, 8, ... are observed too", COUNT),
    Key("callbacks.activations.every_n_steps", "optimizer steps from one observed step to the next; before the first of them 1, 2, 4, 8, ... are observed too", COUNT),
    Key("callbacks.gradient_noise.images", "of the last that were trained on, whose single gradients are compared at an epoch's end", at_least(2)),
    Key("callbacks.gradient_flow.vanishing", "times that gradients fall, or grow, towards the first layer, from which it is said", at_least(10)),
    Key("callbacks.gradient_flow.exploding", "share of the weights that an update is while gradients have grown tenfold, from which it is said", above(0)),
    Key("callbacks.gradient_flow.dead", "share of a layer's units that are 0 for a whole batch, from which it is said", SOME_SHARE),
    Key("callbacks.*.monitor", "the figure that chooses the best weights", NOT_EMPTY, RESULT),
    Key("callbacks.*.mode", "whether better is lower (min) or higher (max); auto: as the metric has it", BETTER, RESULT),
    Key("*.seconds", "from one line of progress to the next", SECONDS),
    Key("*.refresh_seconds", "from one drawing of the bar to the next", SECONDS),
    Key("*.warmup_batches", "batches that the average speed leaves out", at_least(0)),
    Key("*.worst", "mistakes that are drawn", between(1, 1_000)),
    Key("callbacks.figures.gradcam", "of the worst mistakes, how many are drawn with Grad-CAM; 0: none", between(0, 25)),
    Key("*.dpi", "dots per inch of the figures", between(10, 1_200)),
)
# fmt: on
KEYS = {key.name: key for key in ROWS}
COPIES = re.compile(r"(arch\.)?parts\.")
"""Where the keys of norm, activation, pool, init and dropout stand once more, as the network receives them."""


def row(key: str) -> Key | None:
    """The row of a dotted key: its own, that of `group.*.name`, or that of `*.name`; None if it has none."""
    if key.startswith("search.space."):  # not the key itself, but what it is chosen from
        return KEYS["search.space"]
    key = COPIES.sub("", key, count=1)
    group, _, name = key.partition(".")
    last = name.rpartition(".")[2]
    return KEYS.get(key) or (KEYS.get(f"{group}.*.{last}") or KEYS.get(f"*.{last}") if last else None)


def has_part(key: str, part: Part) -> bool:
    """Whether a dotted key has a part: by its own row, or by its group's where its own does not say otherwise."""
    own, group = row(key), KEYS.get(key.partition(".")[0])
    parts = (own.part if own else NONE) | (group.part if group else NONE)
    return part in parts and not (part is EVALUATE and TRAINING in parts) and not (part is LAYOUT and RESULT in parts)


def names_with(part: Part) -> list[str]:
    """The keys and groups that have a part by a row of their own, in the order of the table."""
    return [key.name for key in ROWS if part in key.part]


def accepted(key: str) -> Accepts | None:
    """What a dotted key accepts; None: any value of its yaml's type."""
    known = row(key)
    return known.accepts if known else None


def facts_of(key: str) -> dict[str, str] | None:
    """What the table says of a dotted key, in words; None if it has no row."""
    known = row(key)
    if known is None:
        return None
    resume = (
        "yes" if has_part(key, LAYOUT) or has_part(key, RESUME) else "to a larger one" if has_part(key, GROWS) else "no"
    )
    return {
        "meaning": known.meaning,
        "accepted": known.accepts.text if known.accepts else "any value of the type that its yaml has",
        "determines the result": "no" if has_part(key, LAYOUT) else "yes",
        "may change on resume": resume,
        "may be given to evaluate": "yes" if has_part(key, EVALUATE) else "no",
    }


def leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to dotted keys; lists and empty dicts are values."""
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    inside = (leaves(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in node.items())
    return {key: value for deeper in inside for key, value in deeper.items()}


def check_values(config: dict[str, Any]) -> None:
    """Check every value of a resolved config; the shallower of two keys that hold the same wrong value is named.

    Raises ConfigError for a number that is not finite and for a value outside its range.
    """
    flat = leaves(config)
    for key, value in [*flat.items()]:
        for place, item in enumerate(value if isinstance(value, list) else ()):
            flat |= leaves(item, f"{key}[{place}]") if isinstance(item, dict) else {}  # a part, as of loss.heads
    for key, value in sorted(flat.items(), key=lambda pair: (pair[0].count("."), has_part(pair[0], DERIVED))):
        accepts = accepted(key)
        whole = accepts is not None and accepts.whole
        if isinstance(value, list) and len(value) > LONGEST and not isinstance(value[0], str):
            raise ConfigError(f"{key}: a list of {len(value):,} values; accepted are up to {LONGEST:,}")
        for item in value if isinstance(value, list) and not whole else [value]:
            wrong = _objection(item, accepts)
            if wrong is not None:
                raise ConfigError(f"{key}={shown(value)}: {wrong}")


LARGEST = 2**63 - 1  # what torch and numpy count with
FLOATS = 1.1754943508222875e-38, 3.4028234663852886e38  # what their float32 tells from 0 and from infinity
LONGEST = 1_000  # of numbers; names there may be as many as classes


def _objection(value: Any, accepts: Accepts | None) -> str | None:
    """What is wrong with one value (of a list: one item); types are looked at too where the table has them."""
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, float) and not math.isfinite(item) for item in items):
        return f"not a finite number{f'; accepted: {accepts.text}' if accepts else ''}"
    if any(isinstance(item, float) and item and not FLOATS[0] <= abs(item) <= FLOATS[1] for item in items):
        return f"no number of float32; accepted: sizes from {FLOATS[0]:.2g} to {FLOATS[1]:.2g}"
    if any(isinstance(item, int) and abs(item) > LARGEST for item in items):
        return f"too large; accepted are whole numbers up to {LARGEST:,}"
    if any(isinstance(item, str) and not item.replace("\t", " ").isprintable() for item in items):
        return "control characters are not accepted"
    if accepts is None or (value is None and accepts.null):
        return None
    if accepts.types and not has_type(value, accepts.types):
        return f"expected {accepts.text}"
    try:
        good = isinstance(value, (bool, int, float, str) if not accepts.whole else list) and accepts.test(value)
    except TypeError:  # text where numbers are compared
        good = False
    if good:
        return None
    near = nearest(str(value), accepts.words) if isinstance(value, str) else "."
    return f"out of range; accepted: {accepts.text}{near.removesuffix('.')}"
