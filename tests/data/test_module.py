"""The data module in Lightning's own loop, and what it does to a batch. The dataset is the synthetic one."""

from types import SimpleNamespace

import lightning.pytorch as L
import pytest
import torch

from convarium.batch import Batch
from convarium.data.augment.change import AugmentKey
from convarium.data.augment.crop import CropFlip, RandomResizedCrop
from convarium.data.augment.erase import Cutout
from convarium.data.augment.flip import Flip
from convarium.data.augment.mix import MixUp, beta
from convarium.data.datasets.folder import FolderImages
from convarium.data.datasets.synthetic import SyntheticImages
from convarium.data.sources import InMemory


def synthetic(**options):
    facts = {"num_classes": 4, "channels": 3, "image_size": 8, "mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}
    sizes = {"train_size": 50, "test_size": 23, "val_fraction": 0.2, "batch_size": 8, "eval_batch_size": 8}
    return SyntheticImages(**{**facts, **sizes, **options})


def folder(root, **options):
    facts = {
        "num_classes": 2,
        "classes": ["cat", "dog"],
        "channels": 3,
        "image_size": 12,
        "mean": [0.4, 0.5, 0.6],
        "std": [0.1, 0.2, 0.3],
    }
    sizes = {"in_memory": False, "val_fraction": 0.0, "batch_size": 2, "num_workers": 0}
    return FolderImages(root=str(root), **{**facts, **sizes, **options})


def trained_on(data, epoch):
    """What the network sees of each sample in an epoch, as uint8, by sample number."""
    loader = data.train_dataloader()
    loader.set_epoch(epoch)
    prepared = [data.on_after_batch_transfer(batch, 0) for batch in loader]
    return {
        index: image
        for batch in prepared
        for index, image in zip(batch.index.tolist(), data.denormalize(batch.images), strict=True)
    }


class Recorder(L.LightningModule):
    """A linear layer that writes down the samples it is given."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3 * 8 * 8, 4)
        self.trained, self.val_epochs, self.tested = [], [], []

    @property
    def train_epochs(self):
        """(number, samples) of each batch, an entry per epoch."""
        epochs = sorted({epoch for epoch, _, _ in self.trained})
        return [[(number, samples) for e, number, samples in self.trained if e == epoch] for epoch in epochs]

    def on_validation_epoch_start(self):
        self.val_epochs.append([])

    def training_step(self, batch, batch_idx):
        assert batch.images.dtype == torch.float32
        self.trained.append((batch.epoch, batch.number, batch.index.tolist()))
        return torch.nn.functional.cross_entropy(self.layer(batch.images.flatten(1)), batch.targets)

    def validation_step(self, batch, batch_idx):
        self.val_epochs[-1] += batch.index.tolist()

    def test_step(self, batch, batch_idx):
        self.tested += batch.index.tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def trainer(tmp_path, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    quiet["enable_checkpointing"] = False
    return L.Trainer(accelerator="cpu", devices=1, default_root_dir=tmp_path, **{**quiet, "max_epochs": 3, **options})


def test_lightning_trains_validates_and_tests_on_the_right_samples(tmp_path):
    module, data, run = Recorder(), synthetic(), trainer(tmp_path)
    run.fit(module, data)
    run.test(module, data)
    assert [len(epoch) for epoch in module.train_epochs] == [5, 5, 5]
    assert [number for epoch in module.train_epochs for number, _ in epoch] == list(range(15))
    orders = [[s for _, samples in epoch for s in samples] for epoch in module.train_epochs]
    assert sorted(orders[0]) == sorted(orders[1]) == data._members[0].tolist()
    assert orders[0] != orders[1] != orders[2]
    assert module.val_epochs == [data._members[1].tolist()] * 3
    assert module.tested == list(range(23))


def test_a_limited_epoch_is_followed_by_a_whole_new_one(tmp_path):
    module = Recorder()
    trainer(tmp_path, limit_train_batches=2, max_epochs=2).fit(module, synthetic())
    assert [[number for number, _ in epoch] for epoch in module.train_epochs] == [[0, 1], [5, 6]]


@pytest.mark.parametrize(("limit", "images"), [(1, 8), (2, 16), (0.5, 16), (0.1, 8), (9, 40), (1.0, 40)])
def test_a_limited_validation_shows_every_class_in_proportion(tmp_path, limit, images):
    sorted_by_class = torch.arange(40) // 10
    module, data = Recorder(), synthetic(train_size=200)
    data.__dict__["_own_val"] = InMemory(torch.zeros(40, 3, 8, 8, dtype=torch.uint8), sorted_by_class)
    trainer(tmp_path, max_epochs=2, limit_val_batches=limit).fit(module, data)
    once, again = module.val_epochs
    assert sorted_by_class[once].bincount().tolist() == [images // 4] * 4
    assert once == again == sorted(once)


def test_a_limited_test_is_the_same_share_every_time_and_another_for_another_seed(tmp_path):
    tested = []
    for split_seed in (0, 0, 1):
        module, data = Recorder(), synthetic(test_size=400)
        data.__dict__["_test"] = InMemory(torch.zeros(400, 3, 8, 8, dtype=torch.uint8), torch.arange(400) // 100)
        data.split_seed = split_seed
        trainer(tmp_path, limit_test_batches=5).test(module, data)
        tested.append(module.tested)
    assert len(tested[0]) == 40
    assert tested[0] == tested[1] != tested[2]


def test_ranks_share_a_limited_split_among_themselves():
    data, shares = synthetic(test_size=100, eval_batch_size=8), []
    for rank in (0, 1):
        data.trainer = SimpleNamespace(
            world_size=2,
            global_rank=rank,
            limit_test_batches=3,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )
        shares.append([batch.index.tolist() for batch in data.test_dataloader()])
    assert [[len(batch) for batch in share] for share in shares] == [[4, 4, 4]] * 2
    assert len({sample for share in shares for batch in share for sample in batch}) == 24


def test_a_limit_on_whole_pictures_counts_them_one_by_one(class_folders):
    data = folder(class_folders(splits=("train", "test"), images=6))
    data.whole = True
    data.trainer = SimpleNamespace(
        world_size=1, global_rank=0, limit_test_batches=4, strategy=SimpleNamespace(root_device=torch.device("cpu"))
    )
    assert [int(batch.targets) for batch in data.test_dataloader()] == [0, 0, 1, 1]


def test_overfitting_repeats_the_first_batches(tmp_path):
    module = Recorder()
    trainer(tmp_path, overfit_batches=2).fit(module, synthetic())
    samples = [[s for _, s in epoch] for epoch in module.train_epochs]
    assert len(samples[0]) == 2
    assert samples[0] == samples[1] == samples[2]


def test_a_run_without_validation_trains_on_every_image(tmp_path):
    module, data = Recorder(), synthetic(val_fraction=0.0)
    trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(module, data)
    assert module.val_epochs == []
    assert len(module.train_epochs[0]) == 6


def test_a_checkpoint_in_the_middle_of_an_epoch_resumes_with_the_remaining_batches(tmp_path):
    whole = Recorder()
    trainer(tmp_path, max_epochs=2).fit(whole, synthetic())

    class Save(L.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if batch.number == 6:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    trainer(tmp_path, max_epochs=2, callbacks=[Save()]).fit(Recorder(), synthetic())
    resumed = Recorder()
    trainer(tmp_path, max_epochs=2).fit(resumed, synthetic(), ckpt_path=tmp_path / "middle.ckpt", weights_only=True)
    assert resumed.trained == whole.trained[7:]


def test_accumulated_micro_batches_make_the_same_steps(tmp_path):
    data = synthetic()
    run = trainer(tmp_path, accumulate_grad_batches=4)
    run.fit(Recorder(), data)
    assert run.global_step == 15
    assert len(data.train_dataloader()) == 20


def test_normalization_is_that_of_the_yaml():
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    normalized = synthetic().normalize(images)
    assert normalized.dtype == torch.float32
    torch.testing.assert_close(normalized, (images / 255 - mean) / std)


def test_one_mean_serves_all_channels():
    images = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    assert torch.allclose(synthetic(mean=[0.5], std=[0.25]).normalize(images), torch.tensor(2.0))


def test_training_batches_are_augmented_by_their_key_and_others_are_not():
    data = synthetic(augment={"crop": CropFlip(pad=2)}, seed=5)
    images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    index = torch.arange(6)
    batch = Batch(images, index % 4, index, 3, 17, 1.0, True)
    prepared = data.on_after_batch_transfer(batch, 0)
    changed = CropFlip(pad=2)(images, AugmentKey(5, 3, index))
    assert torch.equal(prepared.images, data.normalize(changed))
    assert prepared[1:] == batch[1:]
    shown = data.on_after_batch_transfer(batch._replace(training=False), 0)
    assert torch.equal(shown.images, data.normalize(images))


def test_the_parts_of_an_augmentation_come_one_after_the_other():
    parts = {"erase": Cutout(size=3, value=(0.5,)), "flip": Flip(), "crop": CropFlip(pad=2, mirror="none")}
    data = synthetic(augment=parts, seed=5)
    batch = next(iter(data.train_dataloader()))
    key = AugmentKey(5, 0, batch.index)
    changed = parts["erase"](parts["flip"](parts["crop"](batch.images, key), key), key)
    assert torch.equal(data.on_after_batch_transfer(batch, 0).images, data.normalize(changed))


@pytest.mark.parametrize("training", [True, False])
def test_images_with_their_channels_last_are_put_in_order(training):
    data = synthetic(augment={"crop": CropFlip(pad=2)})
    images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    index = torch.arange(6)
    batch = Batch(images, index % 4, index, 3, 17, 1.0, training)
    last = batch._replace(images=images.contiguous(memory_format=torch.channels_last))
    assert not last.images.is_contiguous()
    prepared = data.on_after_batch_transfer(last, 0)
    assert prepared.images.is_contiguous()
    assert torch.equal(prepared.images, data.on_after_batch_transfer(batch, 0).images)


def test_a_mixed_batch_has_its_partners_and_their_share():
    data, plain = synthetic(augment={"mix": MixUp(alpha=0.7)}, seed=5), synthetic()
    images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    index, targets = torch.arange(6) + 10, torch.tensor([0, 1, 2, 3, 1, 2])
    batch = Batch(images, targets, index, 3, 17, 1.0, True)
    mixed = data.on_after_batch_transfer(batch, 0)
    partners, share = mixed.mix
    assert partners.tolist() == [2, 0, 1, 2, 3, 1]
    assert torch.equal(share, beta(0.7, AugmentKey(5, 3, index), "mixup"))
    assert mixed[1:7] == batch[1:7]
    normalized, own = plain.normalize(images), share.view(-1, 1, 1, 1)
    torch.testing.assert_close(mixed.images, own * normalized + (1 - own) * normalized.roll(1, 0))


def test_nothing_is_mixed_without_a_mix_or_out_of_training():
    batch = next(iter(synthetic().train_dataloader()))
    assert synthetic(augment={"flip": Flip()}).on_after_batch_transfer(batch, 0).mix is None
    shown = synthetic(augment={"mix": MixUp()}).on_after_batch_transfer(batch._replace(training=False), 0)
    assert shown.mix is None
    assert torch.equal(shown.images, synthetic().normalize(batch.images))


def test_denormalized_images_are_what_was_normalized():
    levels = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8).expand(4, 3, 8, 8)
    for options in ({}, {"mean": [0.5], "std": [1.0]}, {"mean": [0.1307], "std": [0.3081]}):
        data = synthetic(**options)
        assert torch.equal(data.denormalize(data.normalize(levels)), levels)


def test_denormalized_images_beyond_the_scale_are_its_ends():
    data = synthetic(mean=[0.5], std=[0.25])
    assert data.denormalize(torch.tensor([-9.0, 0.0, 9.0]).view(3, 1, 1, 1)).flatten().tolist() == [0, 128, 255]


# samples


def test_samples_are_of_all_classes_and_without_augmentation_seen_as_stored():
    data = synthetic()
    stored, seen, labels = data.samples(8, 3)
    assert labels == ["0", "0", "1", "1", "2", "2", "3", "3"]
    assert [tuple(image.shape) for image in stored] == [(3, 8, 8)] * 8
    assert len(seen) == 3
    assert all(torch.equal(images, torch.stack(stored)) for images in seen)


def test_samples_are_called_by_their_classes_names():
    assert synthetic(classes=["a", "b", "c", "d"]).samples(4, 1).labels == ["a", "b", "c", "d"]


def test_samples_are_trained_on():
    data = synthetic()
    stored = data.samples(1000, 1).stored
    assert len(stored) == data.num_train == 40
    members = {tuple(image.flatten().tolist()) for image in data._train.fetch(data._members[0])[0]}
    assert {tuple(image.flatten().tolist()) for image in stored} == members


def test_samples_are_the_same_when_asked_for_again_and_others_in_every_epoch():
    options = {"augment": {"crop": CropFlip(pad=2), "mix": MixUp()}}
    first, again = synthetic(**options).samples(6, 2), synthetic(**options).samples(6, 2)
    assert all(torch.equal(a, b) for a, b in zip(first.seen, again.seen, strict=True))
    assert not torch.equal(first.seen[0], first.seen[1])
    other = synthetic(**options, seed=2).samples(6, 2)
    assert torch.equal(torch.stack(other.stored), torch.stack(first.stored))
    assert not torch.equal(other.seen[0], first.seen[0])


@pytest.mark.parametrize("cutting", [True, False])
def test_samples_are_seen_as_the_training_sees_them(class_folders, cutting):
    crop = RandomResizedCrop() if cutting else CropFlip(pad=3)
    data = folder(class_folders(size=(30, 20)), augment={"crop": crop, "flip": Flip()})
    assert data._train.crops
    stored, seen, labels = data.samples(8, 2)
    assert [tuple(image.shape) for image in stored] == [(3, 20, 30)] * 8
    assert labels == ["cat"] * 4 + ["dog"] * 4
    for epoch, images in enumerate(seen):
        assert images.shape == (8, 3, 12, 12)
        in_training = trained_on(data, epoch)
        assert all(torch.equal(image, in_training[index]) for index, image in enumerate(images))


def test_samples_of_pictures_in_memory_are_seen_as_the_training_sees_them(class_folders):
    data = folder(class_folders(size=(30, 20)), in_memory=True, augment={"crop": RandomResizedCrop()})
    stored, seen, _ = data.samples(8, 1)
    assert [tuple(image.shape) for image in stored] == [(3, 12, 12)] * 8
    in_training = trained_on(data, 0)
    assert all(torch.equal(image, in_training[index]) for index, image in enumerate(seen[0]))


# advice


def test_data_that_keep_the_device_waiting_say_what_to_change(class_folders, monkeypatch):
    monkeypatch.setattr("convarium.data.sources.cores_of_a_rank", lambda: 8)
    assert synthetic().advice() == ("slicing batches keeps the device waiting; a larger batch_size has fewer of them")
    assert synthetic(augment={"crop": CropFlip(), "erase": Cutout(size=2)}).advice() == (
        "the augmentation (CropFlip, Cutout) keeps the device waiting; a lighter one is faster"
    )
    root = class_folders()
    packed = "convarium data pack once, then data=packed, or a smaller data.image_size"
    assert folder(root, num_workers=3).advice() == (
        f"decoding in 3 threads (8 cores) keeps the device waiting; faster: data.num_workers=8, or {packed}"
    )
    assert folder(root, num_workers=8).advice() == (
        f"decoding in 8 threads (8 cores) keeps the device waiting; faster: {packed}"
    )
    assert folder(root, in_memory=True).advice() == synthetic().advice()


def test_a_batch_already_on_its_device_is_not_copied():
    data = synthetic()
    batch = next(iter(data.train_dataloader()))
    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch


def test_the_remainder_is_what_an_epoch_leaves_out():
    assert synthetic(batch_size=16).epoch_size().remainder == 8
    assert synthetic(batch_size=16, drop_last=False).epoch_size().remainder == 0


def test_classes_without_names_are_called_by_their_numbers():
    assert synthetic().class_names == ["0", "1", "2", "3"]
    assert synthetic(classes=["a", "b", "c", "d"]).class_names == ["a", "b", "c", "d"]


def test_one_logit_stands_for_two_classes_of_which_both_or_the_second_have_names():
    assert synthetic(num_classes=1).class_names == ["0", "1"]
    assert synthetic(num_classes=1, classes=["crack"]).class_names == ["not crack", "crack"]
    assert synthetic(num_classes=1, classes=["sound", "crack"]).class_names == ["sound", "crack"]
    with pytest.raises(ValueError, match=r"^data\.num_classes=1: but data\.classes names 3$"):
        synthetic(num_classes=1, classes=["a", "b", "c"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": [0.1, 0.2]}, r"data.mean has 2 values for data.channels=3: give one per channel, or one for all"),
        ({"classes": ["a"]}, r"data.num_classes=4: but data.classes names 1"),
    ],
)
def test_facts_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        synthetic(**options)


@pytest.mark.gpu
def test_a_gpu_holds_a_small_split_and_gets_the_same_batches(tmp_path):
    here, there = Recorder(), Recorder()
    trainer(tmp_path).fit(here, synthetic())
    trainer(tmp_path, accelerator="gpu").fit(there, synthetic())
    assert there.trained == here.trained
    data = synthetic()
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(data.normalize(images.cuda()).cpu(), data.normalize(images))


# cross-validation and classes of unequal size


def test_a_fold_validates_and_the_rest_is_trained_on():
    folds = [synthetic(folds=4, fold=number, val_fraction=0.5) for number in range(4)]
    for data in folds:
        data.setup("fit")
    assert sorted(data.num_val for data in folds) == [12, 12, 13, 13]
    assert all(data.num_train + data.num_val == 50 for data in folds)
    held = torch.cat([data._members[1] for data in folds])
    assert torch.equal(held.sort().values, torch.arange(50))
    assert len(folds[0].val_dataloader().members) == folds[0].num_val


def test_a_fold_takes_the_place_of_a_validation_split_that_the_data_bring(class_folders):
    root = class_folders(splits=("train", "val"))
    own = folder(root)
    data = folder(root, folds=2, fold=1)
    assert data.num_train + data.num_val == own.num_train
    assert own.num_val == len(own._own_val)
    assert data._own_val is None


def test_the_second_coming_of_an_image_is_augmented_in_its_own_way():
    data = synthetic(sampler="balanced", num_classes=4, augment={"crop": CropFlip(pad=4, mirror="random")})
    data.setup("fit")
    common = data._members[0][data._train.targets[data._members[0]] != 0]
    one = data._members[0][data._train.targets[data._members[0]] == 0][:1]
    data.__dict__["_members"] = (torch.cat([common, one]), data._members[1])
    assert data.class_counts.tolist()[0] == 1
    seen = trained_on(data, 0)
    again = [index for index in seen if index % 50 == int(one)]
    assert len(again) > 4
    assert len({seen[index].numpy().tobytes() for index in again}) > len(again) // 2
