"""What a block is called and why it is there, with the paper that says so: by what it is made of, whose ever it is."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from convarium.anatomy.diagram.structure import Box, Fork, Part, walk
from convarium.anatomy.trace import Window
from convarium.layers.norm import LocalResponse


class Facts:
    """What the rows of the table below ask of a part."""

    def __init__(self, part: Part, spine: Sequence[Part]) -> None:
        self.first, self.last, self.copies = part is spine[0], part is spine[-1], len(part.copies)
        items = list(walk(part.row))
        forks = [item for item in items if isinstance(item, Fork)]
        self.fork = forks[0] if forks and forks[0] in part.row else None
        self.passed_by = any(fork.passing for fork in forks)
        self.join = self.fork.join.kind if self.fork and self.fork.join else ""
        self.nested = any(fork.join is not None and fork.join.kind == "concat" for fork in forks[1:])
        self.boxes = [item for item in items if isinstance(item, Box)]
        self.box = part.box
        self.kind = part.box.layer.kind if part.box else ""
        window = part.box.layer.window if part.box else None
        self.window = window or Window((1, 1), (1, 1), (0, 0))
        self.after = part.box.after if part.box else ()

    def has(self, kind: str) -> bool:
        return any(box.layer.kind == kind for box in self.boxes)

    def branch(self, *kernels: int) -> bool:
        """Whether a branch has such square kernels in a row."""
        wanted = [(k, k) for k in kernels]
        for row in self.fork.branches if self.fork else ():
            convs = [box.layer for box in row if isinstance(box, Box) and box.layer.kind in ("conv", "depthwise_conv")]
            found = [layer.window.kernel for layer in convs if layer.window]
            if any(found[at : at + len(wanted)] == wanted for at in range(len(found))):
                return True
        return False

    @property
    def windows(self) -> list[Window]:
        return [box.layer.window for box in self.boxes if box.layer.window is not None]

    @property
    def alike(self) -> bool:
        """Whether each branch is one convolution, all with the same window."""
        rows = self.fork.branches if self.fork else ()
        kernels = {
            row[0].layer.window and row[0].layer.window.kernel for row in rows if row and isinstance(row[0], Box)
        }
        return self.join == "concat" and len(kernels) == 1 and all(len(row) == 1 for row in rows)


class Reason(NamedTuple):
    """A row of the table."""

    name: str
    holds: Callable[[Facts], bool]
    why: str
    source: str


AUXILIARY = Reason(
    "auxiliary classifier",
    lambda facts: False,
    "A classifier of its own gives the middle of the network a gradient while it trains; later it was found to "
    "regularize rather than to speed up. It is gone when the network is used.",
    "Szegedy et al. 2014, section 5; 2015, section 4",
)
REASONS = (  # the first that holds
    Reason(
        "inverted residual",
        lambda f: f.join == "add" and f.has("depthwise_conv"),
        "A 1×1 convolution widens, a depthwise one looks around in each map by itself, a 1×1 one narrows; the shortcut "
        "joins the narrow ends.",
        "Tan & Le 2019, section 4 (MBConv; Sandler et al. 2018)",
    ),
    Reason(
        "inverted bottleneck",
        lambda f: f.box is None and f.has("depthwise_conv"),
        "Widen by 1×1, look around in each map by itself, narrow by 1×1; without a shortcut, as its shape changes.",
        "Tan & Le 2019, section 4 (MBConv; Sandler et al. 2018)",
    ),
    Reason(
        "bottleneck",
        lambda f: f.join == "add" and f.branch(1, 3, 1),
        "A 1×1 convolution reduces the maps and another restores them, so that the 3×3 one between them is cheap: a "
        "layer more at the cost of two.",
        "He et al. 2015, section 4.1",
    ),
    Reason(
        "residual block",
        lambda f: f.join == "add",
        "The shortcut lets the layers learn what to add to their input; to add nothing is easy, so that more depth "
        "makes it no harder to train.",
        "He et al. 2015, section 3.1",
    ),
    Reason(
        "dense block",
        lambda f: f.join == "concat" and f.passed_by,
        "Each layer reads the maps of all before it, so that none has to be learnt twice.",
        "Huang et al. 2016, section 3",
    ),
    Reason(
        "Inception module, split",
        lambda f: f.join == "concat" and f.nested,
        "On the coarsest maps 1×3 and 3×1 stand side by side: more filters, where places are few.",
        "Szegedy et al. 2015, Figure 7",
    ),
    Reason(
        "reducing module",
        lambda f: f.join == "concat" and any(max(window.stride) > 1 for window in f.windows),
        "Pooling and convolutions of stride 2 side by side halve the maps without squeezing them first.",
        "Szegedy et al. 2015, section 5",
    ),
    Reason(
        "Inception module, factorized",
        lambda f: f.join == "concat" and any(len(set(window.kernel)) > 1 for window in f.windows),
        "An n×n window as 1×n after n×1: the same view with 2/n of the weights.",
        "Szegedy et al. 2015, section 3.2",
    ),
    Reason(
        "Inception module, two 3×3",
        lambda f: f.join == "concat" and f.branch(3, 3),
        "Two 3×3 convolutions in place of the 5×5: the same view with 28 % fewer weights.",
        "Ioffe & Szegedy 2015, appendix; Szegedy et al. 2015, section 3.1",
    ),
    Reason(
        "sparse convolution",
        lambda f: f.alike,
        "Each map sees a choice of the maps below: fewer weights, and each has other inputs to learn from.",
        "LeCun et al. 1998, section II.B, Table I",
    ),
    Reason(
        "Inception module",
        lambda f: f.join == "concat" and f.has("conv"),
        "Windows of several sizes side by side; 1×1 convolutions reduce the maps before the large ones, in the first "
        "5×5 at 14×14 from 112.9 to 5.3 million multiply-adds.",
        "Szegedy et al. 2014, section 4",
    ),
    Reason(
        "gate",
        lambda f: f.join == "multiply",
        "Each map is scaled by what the means of all maps say.",
        "Tan & Le 2019, section 4 (squeeze and excitation; Hu et al. 2017)",
    ),
    Reason(
        "local response normalization",
        lambda f: any(isinstance(layer.module, LocalResponse) for layer in f.after),
        "After it, a unit is divided by the energy of its neighbours in other maps: 1.4 and 1.2 points of top-1 and "
        "top-5 error in AlexNet, nothing in VGG.",
        "Krizhevsky et al. 2012, section 3.3; Simonyan & Zisserman 2014, section 4.1",
    ),
    Reason(
        "classifier",
        lambda f: f.kind == "linear" and f.last,
        "A score for each class; the loss makes probabilities of them.",
        "Krizhevsky et al. 2012, section 3.5",
    ),
    Reason(
        "linear layer with dropout",
        lambda f: f.kind == "linear" and any(layer.kind == "dropout" for layer in f.after),
        "Every unit sees everything, with most weights of the network; units are left out at random so that they do "
        "not rely on one another.",
        "Krizhevsky et al. 2012, section 4.2",
    ),
    Reason(
        "hidden linear layer",
        lambda f: f.kind == "linear",
        "Every unit sees everything; with a nonlinearity after it, classes need not be separable by planes.",
        "LeCun et al. 1998, section III.C",
    ),
    Reason(
        "global average",
        lambda f: f.kind == "global_pool",
        "One mean for each map in place of linear layers: no weights, any image size, 0.6 points of top-1 error.",
        "Szegedy et al. 2014, section 5",
    ),
    Reason(
        "overlapping pooling",
        lambda f: f.kind == "max_pool" and f.window.kernel[0] > f.window.stride[0],
        "The largest of each window, and windows overlap: 0.4 and 0.3 points less top-1 and top-5 error.",
        "Krizhevsky et al. 2012, section 3.4",
    ),
    Reason(
        "maximum pooling",
        lambda f: f.kind == "max_pool",
        "The largest of each window: where exactly matters less, what follows sees more of the image and costs less.",
        "Simonyan & Zisserman 2014, section 2.1",
    ),
    Reason(
        "average pooling",
        lambda f: f.kind == "average_pool",
        "Subsampling: once a feature is detected, its exact place matters less than its place beside others.",
        "LeCun et al. 1998, section II.A",
    ),
    Reason(
        "first convolution with a stride",
        lambda f: f.kind == "conv" and f.first and f.window.stride[0] > 1,
        "It moves by several pixels, so that all that follows has far fewer places to compute.",
        "Krizhevsky et al. 2012, section 3.5",
    ),
    Reason(
        "convolution in groups",
        lambda f: f.kind == "conv" and f.window.groups > 1,
        "Each group of filters sees its share of the maps only: the halves were on two GPUs.",
        "Krizhevsky et al. 2012, section 3.2",
    ),
    Reason(
        "convolution with a stride",
        lambda f: f.kind == "conv" and f.window.stride[0] > 1,
        "It halves the maps in place of a pooling; twice the filters keep the cost of a layer.",
        "He et al. 2015, section 3.3",
    ),
    Reason(
        "1×1 convolution",
        lambda f: f.kind == "conv" and f.window.kernel == (1, 1),
        "It mixes the maps at each place, with a nonlinearity more, without looking around.",
        "Simonyan & Zisserman 2014, section 2.3",
    ),
    Reason(
        "3×3 convolutions in a row",
        lambda f: f.kind == "conv" and f.window.kernel == (3, 3) and f.copies > 1,
        "Two see 5×5 with 28 % fewer weights than one such window, three see 7×7 with 45 % fewer, with nonlinearities "
        "between them.",
        "Simonyan & Zisserman 2014, section 2.3",
    ),
    Reason(
        "convolution",
        lambda f: f.kind == "conv",
        "The same small window at all places: few weights, and what is learnt in one place is known in all.",
        "LeCun et al. 1998, section II.A",
    ),
)


def reason(part: Part, spine: Sequence[Part]) -> Reason | None:
    """The row of the table that holds for a part of a spine, if one does."""
    facts = Facts(part, spine)
    return next((row for row in REASONS if row.holds(facts)), None)
