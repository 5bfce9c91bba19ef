"""What people type from habit, by what it is called here: keys, and answers of groups. No torch here."""

from convarium.wording import plain

HYDRAS = frozenset(
    {"cfg", "package", "config-name", "config-dir", "config-path", "info", "experimental-rerun", "shell-completion"}
)
"""Hydra's options that take a value."""


def _by_habit(habits: dict[str, str]) -> dict[str, str]:
    """Turn around a table of what is ours -> what it is called elsewhere, word by word."""
    return {word: ours for ours, words in habits.items() for word in words.split()}


KEYS = _by_habit(
    {
        "arch": "model net network backbone architecture model_name",
        "optimizer.lr": "lr learning_rate base_lr optimizer.learning_rate optim.lr optimizer.base_lr",
        "optimizer.weight_decay": "weight_decay wd l2 optimizer.wd optimizer.l2",
        "trainer.max_epochs": "epochs num_epochs n_epochs max_epochs trainer.epochs",
        "trainer.max_steps": "steps max_steps num_steps max_iters",
        "batch_size": "bs batch train_batch_size data.batch_size per_device_batch_size",
        "trainer.devices": "gpu gpus num_gpus devices ngpu trainer.gpus",
        "trainer.accelerator": "device accelerator",
        "trainer.accumulate_grad_batches": "grad_accum accumulate_grad_batches accum_iter",
        "threads": "n_jobs num_threads cpus",
        "data": "dataset datamodule data_name",
        "data.root": "data_dir data_path root dataset_path data.path data.dir data.data_dir paths",
        "data.image_size": "img_size image_size imgsz input_size resolution data.img_size",
        "data.num_classes": "num_classes nb_classes n_classes",
        "optimizer": "optim opt solver",
        "schedule": "scheduler lr_scheduler sched lr_schedule",
        "loss": "criterion loss_fn objective",
        "loss.label_smoothing": "label_smoothing smoothing",
        "augment": "aug augmentation transform transforms augmentations",
        "dropout": "drop drop_rate dropout_rate p_dropout",
        "norm": "normalization norm_layer",
        "activation": "act act_layer nonlinearity",
        "init": "initialization weight_init initializer",
        "run_dir": "output_dir out_dir log_dir save_dir default_root_dir trainer.default_root_dir",
        "resume": "ckpt_path checkpoint resume_from_checkpoint resume_from ckpt",
        "schedule.warmup": "warmup warmup_epochs warmup_steps num_warmup_steps",
        "seed": "random_seed seed_everything random_state",
        "name": "exp_name experiment_name run_name exp",
        "trainer.log_every_n_steps": "log_interval print_freq log_every log_freq",
        "trainer.check_val_every_n_epoch": "val_interval eval_every val_freq eval_interval",
        "callbacks.checkpoint.every_n_steps": "save_every save_freq save_interval",
        "trainer.profiler": "profile profiler",
        "callbacks": "callback",
        "metrics": "metric",
    }
)
"""A key elsewhere -> ours."""

WORDS = _by_habit(
    {
        "weights=torchvision:NAME, weights=FILE or weights=RUN": "pretrained arch.pretrained pretrained_weights"
        " finetune fine_tune",
        "precision=fp32, bf16, fp16 or tf32": "precision.bits trainer.precision",
        "precision=bf16, or precision=fp16": "amp fp16 mixed_precision use_amp half bf16",
        "clip=norm clip.max_norm=NUMBER": "gradient_clip_val grad_clip clip_grad max_grad_norm"
        " trainer.gradient_clip_val",
        "clip=norm, value or adaptive": "trainer.gradient_clip_algorithm",
        "stop=early stop.patience=NUMBER": "patience early_stopping early_stop callbacks.early_stopping",
        "average=ema": "ema model_ema use_ema",
        "average=ema average.decay=NUMBER": "ema_decay",
        "norm=sync_batch": "sync_batchnorm sync_bn trainer.sync_batchnorm",
        "callbacks=[checkpoint,progress,throughput,figures,gradient_flow], or fewer of them": "trainer.callbacks"
        " trainer.enable_progress_bar trainer.enable_checkpointing",
        "logger=wandb logger.wandb.project=NAME": "project wandb_project logger.project",
        "logger=wandb logger.wandb.tags=[A,B]": "tags logger.tags",
        "optimizer=NAME": "optimizer.name optimizer.type",
        "augment=mixup, cutmix, cutout or randaugment": "mixup cutmix cutout randaugment",
        "logger=wandb, tensorboard or mlflow": "wandb tensorboard mlflow use_wandb trainer.logger",
        "optimizer.momentum=NUMBER, or optimizer.betas=[A,B]": "momentum beta1 betas",
        "data.num_workers=N, of data=folder and others of image files: threads that decode": "num_workers workers"
        " data.workers",
        "recipe=NAME; a group of your own, of --config-dir, is added by +experiment=NAME": "experiment",
        "norm=batch, or norm=none": "bn batch_norm use_bn batchnorm",
        "trainer.fast_dev_run=true": "trainer.fast_dev_run_batches fast_dev_run debug",
        "data.val_fraction=SHARE": "val_split validation_split val_size",
        "recipe=NAME; a folder of your own yaml files is added by --config-dir FOLDER": "config config_file",
    }
)
"""A key elsewhere -> what to write here."""

ANSWERS = {
    group: _by_habit(habits)
    for group, habits in {
        "arch": {
            "inception_v1": "googlenet inception_v1_googlenet",
            "resnet18": "resnet",
            "vgg16": "vgg",
            "efficientnet_b0": "efficientnet",
            "inception_v3": "inception",
        },
        "norm": {"batch": "bn batch_norm", "group": "gn", "layer": "ln", "instance": "in", "sync_batch": "sync_bn"},
        "init": {
            "he": "kaiming kaiming_normal kaiming_uniform msra",
            "xavier": "glorot glorot_uniform xavier_uniform xavier_normal",
        },
        "activation": {"silu": "swish", "leaky_relu": "lrelu", "sigmoid": "logistic"},
        "pool": {"average": "avg mean avg_pool", "max": "max_pool", "strided_conv": "strided"},
        "loss": {"cross_entropy": "ce nll xent softmax", "mse": "l2", "bce": "bce_with_logits"},
        "optimizer": {"sgd": "momentum", "adamw": "adam_w"},
        "schedule": {
            "cosine": "cos cosine_annealing cosine_annealing_lr",
            "step": "step_lr",
            "plateau": "reduce_lr_on_plateau",
            "onecycle": "one_cycle_lr",
        },
        "data": {"folder": "image_folder custom", "synthetic": "fake"},
        "precision": {
            "fp16": "half 16 16-mixed float16",
            "bf16": "bf16-mixed bfloat16 amp",
            "fp32": "32 32-true float32 full",
        },
        "logger": {"tensorboard": "tb", "none": "csv", "wandb": "wb"},
        "average": {"polyak": "swa", "ema": "model_ema"},
        "stop": {"early": "early_stopping patience"},
        "clip": {"norm": "gradient_norm global_norm", "adaptive": "agc"},
        "metrics": {"macro_f1": "f1 f1_score", "accuracy": "acc acc1 top1", "top5": "acc5"},
    }.items()
}
"""A group's answer elsewhere -> ours, however it is spelt."""

OWN = {
    "data": "data=folder data.root=FOLDER",
    "arch": "arch=NAME; docs/architecture.md says how a network of your own gets a name",
}
"""What to write for something of one's own, by group; FOLDER is what was typed, where that is a path."""

VERBS = _by_habit(
    {"train": "fit run", "evaluate": "test validate val score", "predict": "infer inference classify"}
    | {"train -m": "multirun tune search hpo"}
)
"""A verb elsewhere -> ours."""


def meant(key: str, value: str = "...") -> str | None:
    """What to write here in the place of a key from elsewhere; None for a key that no habit has.
    value: what was typed for it, where that is an answer."""
    lowered = key.lower().replace("-", "_")
    return WORDS.get(lowered) or (f"{KEYS[lowered]}={value}" if lowered in KEYS else None)


def answer(group: str, name: str) -> str | None:
    """The answer of a group that is called `name` elsewhere; None for one that no habit has."""
    return next((ours for habit, ours in ANSWERS.get(group, {}).items() if plain(habit) == plain(name)), None)


def undashed(word: str) -> str:
    """`--lr=0.1`, as W&B's agent writes it, as `optimizer.lr=0.1`; other words as they are."""
    key, equals, value = word.removeprefix("--").partition("=")
    if not word.startswith("--") or not equals or key in HYDRAS:
        return word
    key = key.replace("-", "_")
    return f"{KEYS.get(key, key)}={value}"
