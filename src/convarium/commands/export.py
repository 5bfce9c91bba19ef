"""`convarium export RUN`: its network as a file for other programs."""

from pathlib import Path

from convarium.commands.words import Option, Verb, Words
from convarium.progress_bar import doing
from convarium.trained import FORMATS, WEIGHTS


def run(words: Words) -> None:
    """Write the file, and print its path, what goes in and comes out, and how it was checked."""
    folder, options = VERB.run_folder(words), words.options
    with doing("load torch"):
        from convarium.run.directory import RunDirectory
        from convarium.trained.export import export

    format, normalize = words.value("format"), options.get("normalize")
    with doing(f"write {format}, run it and compare"):
        exported = export(
            RunDirectory.open(folder),
            format=format,
            output=Path(options["output"]) if "output" in options else None,
            weights=words.value("weights"),
            normalize=None if normalize is None else normalize == "true",
        )
    print(f"{exported.path}\n  {exported.metadata['input']}\n  -> {exported.metadata['output']}")
    if exported.difference is not None:
        print(f"  run on noise, its logits differ from the network's by at most {exported.difference:.2g}")
    elif format == "onnx":
        print("  not run: onnxruntime is not installed; pip install convarium[export]")


VERB = Verb(
    name="export",
    meaning="write the network of a run as a file for other programs",
    run=run,
    positions="RUN",
    options={
        "format": Option("the kind of file", tuple(FORMATS), "onnx"),
        "output": Option("the file to write; RUN/export/model.* if not given"),
        "weights": Option("which weights of the run", WEIGHTS, "final"),
        "normalize": Option("whether the network takes images as they are, normalizing them itself", ("true", "false")),
    },
    example="convarium export runs/digits format=torch_export output=digits.pt2",
)
