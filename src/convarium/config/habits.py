"""What people type from habit, by what it is called here: keys, and answers of groups. No torch here."""

HYDRAS = frozenset(
    {"cfg", "package", "config-name", "config-dir", "config-path", "info", "experimental-rerun", "shell-completion"}
)
"""Hydra's options that take a value."""

KEYS = {
    **dict.fromkeys(("model", "net", "network", "backbone", "architecture", "model_name"), "arch"),
    **dict.fromkeys(("lr", "learning_rate", "base_lr", "optimizer.learning_rate"), "optimizer.lr"),
    **dict.fromkeys(("weight_decay", "wd", "l2"), "optimizer.weight_decay"),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs", "max_epochs", "trainer.epochs"), "trainer.max_epochs"),
    **dict.fromkeys(("steps", "max_steps", "num_steps", "max_iters"), "trainer.max_steps"),
    **dict.fromkeys(("bs", "batch", "train_batch_size", "data.batch_size", "per_device_batch_size"), "batch_size"),
    **dict.fromkeys(("gpus", "num_gpus", "devices", "ngpu", "trainer.gpus"), "trainer.devices"),
    **dict.fromkeys(("device", "accelerator"), "trainer.accelerator"),
    **dict.fromkeys(("grad_accum", "accumulate_grad_batches", "accum_iter"), "trainer.accumulate_grad_batches"),
    **dict.fromkeys(("n_jobs", "num_threads", "cpus"), "threads"),
    **dict.fromkeys(("dataset", "data_name"), "data"),
    **dict.fromkeys(("data_dir", "data_path", "root", "dataset_path", "data.path", "data.dir"), "data.root"),
    **dict.fromkeys(
        ("img_size", "image_size", "imgsz", "input_size", "resolution", "data.img_size"), "data.image_size"
    ),
    **dict.fromkeys(("num_classes", "nb_classes", "n_classes"), "data.num_classes"),
    **dict.fromkeys(("optim", "opt", "solver"), "optimizer"),
    **dict.fromkeys(("scheduler", "lr_scheduler", "sched", "lr_schedule"), "schedule"),
    **dict.fromkeys(("criterion", "loss_fn", "objective"), "loss"),
    **dict.fromkeys(("label_smoothing", "smoothing"), "loss.label_smoothing"),
    **dict.fromkeys(("aug", "augmentation", "transform", "transforms", "augmentations"), "augment"),
    **dict.fromkeys(("drop", "drop_rate", "dropout_rate", "p_dropout"), "dropout"),
    **dict.fromkeys(("normalization", "norm_layer"), "norm"),
    **dict.fromkeys(("act", "act_layer", "nonlinearity"), "activation"),
    **dict.fromkeys(("initialization", "weight_init", "initializer"), "init"),
    **dict.fromkeys(("output_dir", "out_dir", "log_dir", "save_dir", "default_root_dir", "workdir"), "run_dir"),
    **dict.fromkeys(("ckpt_path", "checkpoint", "resume_from_checkpoint", "resume_from", "ckpt"), "resume"),
    **dict.fromkeys(("warmup", "warmup_epochs", "warmup_steps", "num_warmup_steps"), "schedule.warmup"),
    **dict.fromkeys(("random_seed", "seed_everything", "random_state"), "seed"),
    **dict.fromkeys(("exp_name", "experiment_name", "run_name", "exp"), "name"),
    **dict.fromkeys(("callback",), "callbacks"),
    **dict.fromkeys(("metric",), "metrics"),
}
"""A key elsewhere -> ours."""

WORDS = {
    **dict.fromkeys(
        ("pretrained", "arch.pretrained", "pretrained_weights"), "weights=torchvision:NAME, or weights=FILE"
    ),
    **dict.fromkeys(("precision.bits", "trainer.precision"), "precision=fp32, bf16, fp16 or tf32"),
    **dict.fromkeys(("amp", "fp16", "mixed_precision", "use_amp", "half", "bf16"), "precision=bf16, or precision=fp16"),
    **dict.fromkeys(
        ("gradient_clip_val", "grad_clip", "clip_grad", "max_grad_norm", "trainer.gradient_clip_val"),
        "clip=norm clip.max_norm=NUMBER",
    ),
    "trainer.gradient_clip_algorithm": "clip=norm, value or adaptive",
    **dict.fromkeys(("patience", "early_stopping", "early_stop"), "stop=early stop.patience=NUMBER"),
    **dict.fromkeys(("ema", "model_ema", "use_ema"), "average=ema"),
    **dict.fromkeys(("mixup", "cutmix", "cutout", "randaugment"), "augment=mixup, cutmix, cutout or randaugment"),
    **dict.fromkeys(("wandb", "tensorboard", "mlflow", "use_wandb"), "logger=wandb, tensorboard or mlflow"),
    **dict.fromkeys(("trainer.logger",), "logger=wandb, tensorboard or mlflow"),
    **dict.fromkeys(("momentum", "beta1", "betas"), "optimizer.momentum=NUMBER, or optimizer.betas=[A,B]"),
    **dict.fromkeys(("num_workers", "workers", "data.workers"), "data.num_workers=N: threads that decode image files"),
    "experiment": "recipe=NAME; a group of your own, of --config-dir, is added by +experiment=NAME",
    **dict.fromkeys(("bn", "batch_norm", "use_bn", "batchnorm"), "norm=batch, or norm=none"),
    **dict.fromkeys(("trainer.fast_dev_run_batches", "fast_dev_run", "debug"), "trainer.fast_dev_run=true"),
    **dict.fromkeys(("val_split", "validation_split", "val_size"), "data.val_fraction=SHARE"),
}
"""A key elsewhere -> what to write here."""

ANSWERS = {
    "norm": {
        "bn": "batch",
        "batchnorm": "batch",
        "gn": "group",
        "ln": "layer",
        "in": "instance",
        "syncbn": "sync_batch",
    },
    "init": {"kaiming": "he", "kaiming_normal": "he", "msra": "he", "glorot": "xavier", "xavier_uniform": "xavier"},
    "activation": {"swish": "silu", "leakyrelu": "leaky_relu", "lrelu": "leaky_relu", "logistic": "sigmoid"},
    "pool": {"avg": "average", "mean": "average", "avgpool": "average", "maxpool": "max", "strided": "strided_conv"},
    "loss": {
        "ce": "cross_entropy",
        "nll": "cross_entropy",
        "xent": "cross_entropy",
        "l2": "mse",
        "bce_with_logits": "bce",
    },
    "optimizer": {"momentum": "sgd", "adam_w": "adamw"},
    "schedule": {"cos": "cosine", "cosineannealing": "cosine", "steplr": "step", "reducelronplateau": "plateau"},
    "data": {"imagefolder": "folder", "image_folder": "folder", "custom": "folder", "fake": "synthetic"},
    "precision": {
        "half": "fp16",
        "16-mixed": "fp16",
        "bf16-mixed": "bf16",
        "32-true": "fp32",
        "float32": "fp32",
    },
    "logger": {"tb": "tensorboard", "csv": "none", "wb": "wandb"},
    "average": {"swa": "polyak", "model_ema": "ema"},
    "stop": {"early_stopping": "early", "earlystopping": "early"},
    "clip": {"gradient_norm": "norm", "agc": "adaptive", "global_norm": "norm"},
}
"""A group's answer elsewhere -> ours."""


def meant(key: str) -> str | None:
    """What to write here in the place of a key from elsewhere; None for a key that no habit has."""
    lowered = key.lower().replace("-", "_")
    return WORDS.get(lowered) or (f"{KEYS[lowered]}=..." if lowered in KEYS else None)


def undashed(word: str) -> str:
    """`--lr=0.1`, as W&B's agent writes it, as `optimizer.lr=0.1`; other words as they are."""
    key, equals, value = word.removeprefix("--").partition("=")
    if not word.startswith("--") or not equals or key in HYDRAS:
        return word
    plain = key.replace("-", "_")
    return f"{KEYS.get(plain, plain)}={value}"
