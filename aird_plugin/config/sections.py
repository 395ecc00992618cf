"""Recipe keys of the data, the student and the teacher; keys of one module are defined in that module."""

from dataclasses import dataclass

from aird_plugin.data.degradation import BICUBIC
from aird_plugin.data.lowres import check_px
from aird_plugin.data.mixture import check_degradation
from aird_plugin.models.ensemble import JOINS
from aird_plugin.models.load import load_teachers
from aird_plugin.models.registry import ONNX
from aird_plugin.models.teacher import Teacher
from aird_plugin.models.teacher_input import TeacherInput

SHUFFLES = ("auto", "permutation", "streamed")
FREEZABLE = (None, "trunk")
BATCHNORMS = ("auto", "train", "frozen")


@dataclass(frozen=True)
class DataConfig:
    """rec: folder with train.rec, of one subfolder per identity, or of images without labels; or a tuple of several, trained on
    as one. identity_map: a CSV file that joins identities of several (data/joined_records.py); without it they are apart.
    num_image: 0, or the count that the data must have. labels: False trains without labels also where the data have them
    (training/unlabelled.py).
    px: side of the LR image; 112 leaves it untouched. degradation: how images are downsampled and resized to the student's input
    (a name of data/degradation.py); the run's verification does the same. It may be a mixture, name -> weight, from which
    each image of a step draws one (data/mixture.py); the verification is then bicubic. mixup: 0, or alpha of Beta(alpha, alpha):
    images are mixed in pairs, for teacher and student alike, on the online path and without identities.
    blends: of each image this many blends with a random one are trained on too, as further images of the bank, without
    identities (data/blended_records.py): blends=3 trains on four times as many images. It needs labels=False. turned, cut: the
    shares of the blends that are turned to the side, and that lie at the edge of their photo, each 0 to 1.
    num_workers: processes that prepare batches; 0 prepares them in the training process (best with the bank).
    shuffle: the order of an epoch. "permutation" holds 16 bytes for each image on every rank; "streamed" computes the rows of a
    batch when it is due (data/streamed_sampler.py); "auto" is "streamed" above 16.8 million images. A resumed run keeps its own.
    """

    rec: str | tuple = ""
    identity_map: str = ""
    num_image: int = 0
    labels: bool = True
    px: int = 16
    degradation: str | dict = BICUBIC
    num_workers: int = 0
    mixup: float = 0.0
    blends: int = 0
    turned: float = 0.0
    cut: float = 0.0
    shuffle: str = "auto"

    def __post_init__(self):
        if not self.rec:
            raise ValueError("rec names the training images: a folder with train.rec, one subfolder per identity, or images")
        for path in self.places:
            if not isinstance(path, str) or not path:
                raise ValueError(f"rec is a path, or a tuple of paths; got {path!r} in it")
        if len(self.places) == 1:
            # A tuple of one is that set: one name for it, so that its runs resume under both.
            object.__setattr__(self, "rec", self.places[0])
        check_px(self.px)
        check_degradation(self.degradation)
        if self.shuffle not in SHUFFLES:
            raise ValueError(f"shuffle is one of {', '.join(SHUFFLES)}; got {self.shuffle!r}")
        for key in ("num_image", "num_workers", "mixup", "blends"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be 0 or more; got {getattr(self, key)!r}")
        for key in ("turned", "cut"):
            share = getattr(self, key)
            if not 0 <= share <= 1:
                raise ValueError(f"{key} is a share of the blends, 0 to 1; got {share!r}")
            if share and not self.blends:
                raise ValueError(f"{key}={share!r} is a share of the blends, of which there are none; set blends")

    @property
    def places(self) -> tuple[str, ...]:
        """The path of each training set."""
        return self.rec if isinstance(self.rec, tuple) else (self.rec,)


@dataclass(frozen=True)
class StudentConfig:
    """network: r18 r34 r50 r100 mbf mfn, a native student such as native16_1m, or onnx: the graph of an .onnx file.

    embedding_size: 0 takes the teacher's width, or that of the .onnx file. student_init: None, or a run folder or .pt file of the
    same network to start from; of network="onnx" an .onnx file, None for the teacher's. student_input: how that file is fed;
    None for teacher_input where it is the teacher's file, else for the file's rules. freeze: None, or "trunk": all layers before
    the embedding layers keep their weights and BatchNorm statistics (models/freeze.py). batchnorm: "train" measures
    BatchNorm statistics on the student's batches, "frozen" keeps those it starts with, "auto" is "frozen" for network="onnx".
    """

    network: str = "r18"
    embedding_size: int = 0
    student_init: str | None = None
    student_input: dict | None = None
    freeze: str | None = None
    batchnorm: str = "auto"

    def __post_init__(self):
        TeacherInput.of(self.student_input, "student_input")
        if self.student_input is not None and self.network != ONNX:
            raise ValueError(
                f"student_input={self.student_input!r} states how an .onnx file is fed; network={self.network!r} is none"
            )
        if self.batchnorm not in BATCHNORMS:
            raise ValueError(f"batchnorm is one of {', '.join(BATCHNORMS)}; got {self.batchnorm!r}")
        if self.embedding_size < 0:
            raise ValueError(f"embedding_size is 0 (the teacher's width) or more; got {self.embedding_size!r}")
        if self.freeze not in FREEZABLE:
            raise ValueError(f"freeze is None or 'trunk'; got {self.freeze!r}")


@dataclass(frozen=True)
class TeacherConfig:
    """teacher: None, a run folder, a .pt with arcface_torch's keys, or a recognition .onnx; or a tuple of them, an ensemble.

    teacher_network: for a bare .pt of a network that its keys do not identify. teacher_input: how the teacher is fed, for example
    {"color": "bgr", "mean": 127.5, "std": 128}; None leaves it to the rules (docs/teacher.md). Of several teachers, both are None
    or tuples with an entry for each. teacher_join: "mean" of the normalised embeddings of several teachers, or "concat".
    teacher_flip_mean: an image's target is the mean of the teacher's embeddings of the view and of its mirror image, as
    verification adds both; False takes the view's alone. Anchors, negatives and class centers stay as they are.
    teacher_px: the px at which the teacher sees the training images, an assistant for a small student; 0 for the images as they
    are; of several teachers, one for all or a tuple. The HR side of LR-HR pairs is always embedded from HR images.
    """

    teacher: str | tuple | None = None
    teacher_network: str | tuple | None = None
    teacher_input: dict | tuple | None = None
    teacher_join: str = "mean"
    teacher_px: int | tuple = 0
    teacher_flip_mean: bool = False

    def __post_init__(self):
        if self.teacher_join not in JOINS:
            raise ValueError(f"teacher_join is one of {', '.join(JOINS)}; got {self.teacher_join!r}")
        for path in self.paths:
            if not isinstance(path, str) or not path:
                raise ValueError(f"teacher is a path, or a tuple of paths; got {path!r} in it")
        for key in ("teacher_network", "teacher_input", "teacher_px"):
            value = getattr(self, key)
            if isinstance(value, tuple) and not (isinstance(self.teacher, tuple) and len(value) == len(self.teacher)):
                raise ValueError(f"{key} is a tuple of {len(value)} for {len(self.paths)} teacher(s); give one for each, or None")
        for px in self.teacher_px if isinstance(self.teacher_px, tuple) else (self.teacher_px,):
            if px:
                check_px(px)
        for given in self.teacher_input if isinstance(self.teacher_input, tuple) else (self.teacher_input,):
            TeacherInput.of(given)

    @property
    def paths(self) -> tuple[str, ...]:
        """The path of each teacher."""
        if not self.teacher:
            return ()
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    def load(self, device: str = "cpu") -> Teacher | None:
        """Open the teacher, or the ensemble; None without one. Raises what `load_teachers` raises."""
        if not self.teacher:
            return None
        return load_teachers(self.teacher, self.teacher_network, device, self.teacher_input, self.teacher_join, self.teacher_px)
