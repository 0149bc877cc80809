"""Every path of data/ and metrics/ by name: of the main set of radiographs, or of one from elsewhere.

An external set has the same files in the same form below data/external/<site> and metrics/external/<site>, so that the
functions of the main line serve it too; a set that is trained on beside the main one, below data/more and metrics/more.
What stage extract and masks make of a set is one folder, an output of DVC, so its predictions lie elsewhere.
Where images of that stand among the main set's, as in manifests, they are called <set>/<image id>: no id has a slash.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Beside the sets of data/predictions.
ACTIVATION = "activation"


@dataclass(frozen=True)
class Layout:
    """Where the files of one set of radiographs lie, below the folder of dvc.yaml.

    Attributes:
        root: the folder of dvc.yaml; relative by default, so that messages name paths as a user types them.
        site: a name of evaluate.external, or of data.more; None: the main set.
        shelf: the folder of its kind, ``external`` or ``more``; of the main set nothing.
    """

    root: Path = Path()
    site: str | None = None
    shelf: str = "external"

    @property
    def name(self) -> str:
        """Of the set, for messages."""
        return self.site or "data.root"

    @property
    def main(self) -> Layout:
        """The main set, on which networks were trained and the rule was tuned."""
        return Layout(self.root)

    def external(self, site: str) -> Layout:
        """The set of this name in evaluate.external."""
        return Layout(self.root, site)

    def more(self, name: str) -> Layout:
        """The set of this name in data.more."""
        return Layout(self.root, name, "more")

    def image(self, image_id: str) -> Path:
        """The PNG of an image, <set>/<image id> of one of data.more."""
        name, _, own = image_id.rpartition("/")
        return (self.more(name) if name else self).images / f"{own}.png"

    def mask(self, image_id: str) -> Path:
        """The PNG of a mask, which an image without one lacks; as ``image``."""
        name, _, own = image_id.rpartition("/")
        return (self.more(name) if name else self).masks / f"{own}.png"

    def lung_mask(self, image_id: str) -> Path:
        """The PNG of an image's lungs, which it may lack; as ``image``."""
        name, _, own = image_id.rpartition("/")
        return (self.more(name) if name else self).lungs / f"{own}.png"

    @property
    def data(self) -> Path:
        """Folder of what shows or describes radiographs."""
        return self.root / "data" if self.site is None else self.root / "data" / self.shelf / self.site

    @property
    def metrics(self) -> Path:
        """Folder of numbers and statistical plots, in git."""
        return self.root / "metrics" if self.site is None else self.root / "metrics" / self.shelf / self.site

    @property
    def phantom(self) -> Path:
        """Folder that the stage phantom writes, in the layout of SIIM."""
        return self.data / "phantom"

    @property
    def images(self) -> Path:
        """Folder of PNG radiographs."""
        return self.data / "images"

    @property
    def metadata(self) -> Path:
        """Table METADATA."""
        return self.data / "metadata.csv"

    @property
    def rejected(self) -> Path:
        """Table REJECTED: files that give no image."""
        return self.data / "rejected.csv"

    @property
    def extract_counts(self) -> Path:
        """What extraction met, JSON."""
        return self.metrics / "extract.json"

    @property
    def masks(self) -> Path:
        """Folder of PNG masks, of positives with a known mask only."""
        return self.data / "masks"

    @property
    def lungs(self) -> Path:
        """Folder of PNG masks of the lungs, 0/255 at the size of the file, of images whose source has such."""
        return self.data / "lungs"

    @property
    def annotations(self) -> Path:
        """Table ANNOTATIONS."""
        return self.data / "annotations.csv"

    @property
    def rejected_annotations(self) -> Path:
        """Rows of the annotation table that cannot be used."""
        return self.data / "rejected_annotations.csv"

    @property
    def masks_counts(self) -> Path:
        """What the annotation table holds, JSON."""
        return self.metrics / "masks.json"

    @property
    def explore(self) -> Path:
        """Folder of tables and plots of the data set."""
        return self.metrics / "explore"

    @property
    def splits(self) -> Path:
        """Folder of folds and manifests."""
        return self.data / "splits"

    @property
    def folds(self) -> Path:
        """Table FOLDS; of an external set every annotated image is a test image."""
        return self.splits / "folds.csv" if self.site is None else self.data / "folds.csv"

    @property
    def split_counts(self) -> Path:
        """What the folds hold, JSON."""
        return self.metrics / "split.json"

    @property
    def models(self) -> Path:
        """Folder of fold<k>/."""
        return self.data / "models"

    @property
    def training(self) -> Path:
        """Folder of fold<k>.csv (curves) and fold<k>.json (figures)."""
        return self.metrics / "train"

    @property
    def predictions(self) -> Path:
        """Folder of images.csv, members.json and the probability maps of each set."""
        return self.data / "predictions" if self.site is None else self.root / "data/external_predictions" / self.site

    @property
    def members(self) -> Path:
        """What an ensemble combined; absent where each fold has one network and no experiment joined in."""
        return self.predictions / "members.json"

    @property
    def activation(self) -> Path:
        """Folder of pictures of where networks without a map looked, never masks; absent where they cannot tell."""
        return self.predictions / ACTIVATION

    @property
    def thresholds(self) -> Path:
        """The decision rule, JSON."""
        return self.metrics / "thresholds.json"

    @property
    def tune(self) -> Path:
        """Folder of the searched surface."""
        return self.metrics / "tune"

    @property
    def test(self) -> Path:
        """The figures, JSON."""
        return self.metrics / ("test.json" if self.site is None else "figures.json")

    @property
    def headline(self) -> Path:
        """The few of the figures that DVC shows beside each other, JSON."""
        return self.metrics / "headline.json"

    @property
    def test_cases(self) -> Path:
        """Table of the judged images."""
        return self.metrics / ("test_cases.csv" if self.site is None else "cases.csv")

    @property
    def plots(self) -> Path:
        """Folder of the plots of the figures."""
        return self.metrics / "plots"

    @property
    def submission(self) -> Path:
        """Masks of images without annotation, in the competition's code."""
        return self.data / "submission.csv"

    @property
    def similar(self) -> Path:
        """Of another set: images whose radiograph is in the main set too."""
        return self.data / "similar.csv"

    @property
    def failed(self) -> Path:
        """Of another set: folder of the tables that tell why it failed, out of the way of DVC."""
        return self.root / "data/failed" / self.shelf / (self.site or "")

    @property
    def bundle(self) -> Path:
        """Folder of the model in use."""
        return self.data / "bundle"

    @property
    def report(self) -> Path:
        """Folder of the pages."""
        return self.data / "report"
