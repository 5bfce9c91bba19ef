"""The front door: `python train.py arch=inception_v1 trainer.devices=4`; what there is to choose: `--help`."""

from convarium.cli import train

if __name__ == "__main__":
    train()
