"""What people type from habit, by what it is called here: keys, and answers of groups. No torch here."""

from convarium.wording import plain

HYDRAS = frozenset(
    {"cfg", "package", "config-name", "config-dir", "config-path", "info", "experimental-rerun", "shell-completion"}
)
"""Hydra's options that take a value."""

KEYS = {
    **dict.fromkeys(("model", "net", "network", "backbone", "architecture", "model_name"), "arch"),
    **dict.fromkeys(
        ("lr", "learning_rate", "base_lr", "optimizer.learning_rate", "optim.lr", "optimizer.base_lr"), "optimizer.lr"
    ),
    **dict.fromkeys(("weight_decay", "wd", "l2", "optimizer.wd", "optimizer.l2"), "optimizer.weight_decay"),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs", "max_epochs", "trainer.epochs"), "trainer.max_epochs"),
    **dict.fromkeys(("steps", "max_steps", "num_steps", "max_iters"), "trainer.max_steps"),
    **dict.fromkeys(("bs", "batch", "train_batch_size", "data.batch_size", "per_device_batch_size"), "batch_size"),
    **dict.fromkeys(("gpu", "gpus", "num_gpus", "devices", "ngpu", "trainer.gpus"), "trainer.devices"),
    **dict.fromkeys(("device", "accelerator"), "trainer.accelerator"),
    **dict.fromkeys(("grad_accum", "accumulate_grad_batches", "accum_iter"), "trainer.accumulate_grad_batches"),
    **dict.fromkeys(("n_jobs", "num_threads", "cpus"), "threads"),
    **dict.fromkeys(("dataset", "datamodule", "data_name"), "data"),
    **dict.fromkeys(
        ("data_dir", "data_path", "root", "dataset_path", "data.path", "data.dir", "data.data_dir", "paths"),
        "data.root",
    ),
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
    **dict.fromkeys(
        ("output_dir", "out_dir", "log_dir", "save_dir", "default_root_dir", "trainer.default_root_dir"), "run_dir"
    ),
    **dict.fromkeys(("ckpt_path", "checkpoint", "resume_from_checkpoint", "resume_from", "ckpt"), "resume"),
    **dict.fromkeys(("warmup", "warmup_epochs", "warmup_steps", "num_warmup_steps"), "schedule.warmup"),
    **dict.fromkeys(("random_seed", "seed_everything", "random_state"), "seed"),
    **dict.fromkeys(("exp_name", "experiment_name", "run_name", "exp"), "name"),
    **dict.fromkeys(("log_interval", "print_freq", "log_every", "log_freq"), "trainer.log_every_n_steps"),
    **dict.fromkeys(("val_interval", "eval_every", "val_freq", "eval_interval"), "trainer.check_val_every_n_epoch"),
    **dict.fromkeys(("save_every", "save_freq", "save_interval"), "callbacks.checkpoint.every_n_steps"),
    **dict.fromkeys(("profile", "profiler"), "trainer.profiler"),
    **dict.fromkeys(("callback",), "callbacks"),
    **dict.fromkeys(("metric",), "metrics"),
}
"""A key elsewhere -> ours."""

WORDS = {
    **dict.fromkeys(
        ("pretrained", "arch.pretrained", "pretrained_weights", "finetune", "fine_tune"),
        "weights=torchvision:NAME, weights=FILE or weights=RUN",
    ),
    **dict.fromkeys(("precision.bits", "trainer.precision"), "precision=fp32, bf16, fp16 or tf32"),
    **dict.fromkeys(("amp", "fp16", "mixed_precision", "use_amp", "half", "bf16"), "precision=bf16, or precision=fp16"),
    **dict.fromkeys(
        ("gradient_clip_val", "grad_clip", "clip_grad", "max_grad_norm", "trainer.gradient_clip_val"),
        "clip=norm clip.max_norm=NUMBER",
    ),
    "trainer.gradient_clip_algorithm": "clip=norm, value or adaptive",
    **dict.fromkeys(
        ("patience", "early_stopping", "early_stop", "callbacks.early_stopping"), "stop=early stop.patience=NUMBER"
    ),
    **dict.fromkeys(("ema", "model_ema", "use_ema"), "average=ema"),
    "ema_decay": "average=ema average.decay=NUMBER",
    **dict.fromkeys(("sync_batchnorm", "sync_bn", "trainer.sync_batchnorm"), "norm=sync_batch"),
    **dict.fromkeys(
        ("trainer.callbacks", "trainer.enable_progress_bar", "trainer.enable_checkpointing"),
        "callbacks=[checkpoint,progress,throughput,figures], or fewer of them",
    ),
    **dict.fromkeys(("project", "wandb_project", "logger.project"), "logger=wandb logger.wandb.project=NAME"),
    **dict.fromkeys(("tags", "logger.tags"), "logger=wandb logger.wandb.tags=[A,B]"),
    **dict.fromkeys(("optimizer.name", "optimizer.type"), "optimizer=NAME"),
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
    "arch": {
        **dict.fromkeys(("googlenet", "inception_v1_googlenet"), "inception_v1"),
        "resnet": "resnet18",
        "vgg": "vgg16",
        "efficientnet": "efficientnet_b0",
        "inception": "inception_v3",
    },
    "norm": {
        **dict.fromkeys(("bn", "batch_norm"), "batch"),
        "gn": "group",
        "ln": "layer",
        "in": "instance",
        "sync_bn": "sync_batch",
    },
    "init": {
        **dict.fromkeys(("kaiming", "kaiming_normal", "kaiming_uniform", "msra"), "he"),
        **dict.fromkeys(("glorot", "glorot_uniform", "xavier_uniform", "xavier_normal"), "xavier"),
    },
    "activation": {"swish": "silu", "lrelu": "leaky_relu", "logistic": "sigmoid"},
    "pool": {"avg": "average", "mean": "average", "avg_pool": "average", "max_pool": "max", "strided": "strided_conv"},
    "loss": {
        **dict.fromkeys(("ce", "nll", "xent", "softmax"), "cross_entropy"),
        "l2": "mse",
        "bce_with_logits": "bce",
    },
    "optimizer": {"momentum": "sgd", "adam_w": "adamw"},
    "schedule": {
        **dict.fromkeys(("cos", "cosine_annealing", "cosine_annealing_lr"), "cosine"),
        "step_lr": "step",
        "reduce_lr_on_plateau": "plateau",
        "one_cycle_lr": "onecycle",
    },
    "data": {"image_folder": "folder", "custom": "folder", "fake": "synthetic"},
    "precision": {
        **dict.fromkeys(("half", "16", "16-mixed", "float16"), "fp16"),
        **dict.fromkeys(("bf16-mixed", "bfloat16", "amp"), "bf16"),
        **dict.fromkeys(("32", "32-true", "float32", "full"), "fp32"),
    },
    "logger": {"tb": "tensorboard", "csv": "none", "wb": "wandb"},
    "average": {"swa": "polyak", "model_ema": "ema"},
    "stop": {"early_stopping": "early", "patience": "early"},
    "clip": {"gradient_norm": "norm", "agc": "adaptive", "global_norm": "norm"},
}
"""A group's answer elsewhere -> ours, however it is spelt."""

VERBS = {
    **dict.fromkeys(("fit", "run"), "train"),
    **dict.fromkeys(("test", "validate", "val", "score"), "evaluate"),
    **dict.fromkeys(("infer", "inference", "classify"), "predict"),
    **dict.fromkeys(("multirun", "tune", "search", "hpo"), "train -m"),
}
"""A verb elsewhere -> ours."""


def meant(key: str) -> str | None:
    """What to write here in the place of a key from elsewhere; None for a key that no habit has."""
    lowered = key.lower().replace("-", "_")
    return WORDS.get(lowered) or (f"{KEYS[lowered]}=..." if lowered in KEYS else None)


def answer(group: str, name: str) -> str | None:
    """The answer of a group that is called `name` elsewhere; None for one that no habit has."""
    return next((ours for habit, ours in ANSWERS.get(group, {}).items() if plain(habit) == plain(name)), None)


def undashed(word: str) -> str:
    """`--lr=0.1`, as W&B's agent writes it, as `optimizer.lr=0.1`; other words as they are."""
    key, equals, value = word.removeprefix("--").partition("=")
    if not word.startswith("--") or not equals or key in HYDRAS:
        return word
    plain = key.replace("-", "_")
    return f"{KEYS.get(plain, plain)}={value}"
