"""The gallery: one template per identity, searched with decisions at a calibrated false-accept rate.

N = identities, D = embedding width, K = candidates.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.enrolment import check_names, faces_of_photos, find_photos
from aird_plugin.recognition.gallery_file import gallery_lock, read_arrays, write_arrays, write_vectors
from aird_plugin.recognition.index import Index
from aird_plugin.recognition.match import NO_FACE, Match, match_of
from aird_plugin.recognition.network import brief, listed
from aird_plugin.recognition.templates import Template, as_faces, check_faces, template_of
from aird_plugin.utils.files import file_sha256


class Gallery:
    """Templates of identities, made and searched with the networks of one `TinyFaceAnalysis`.

    `enrol` and `load` make one. A name is any text but "unknown".
    """

    def __init__(self, analysis: TinyFaceAnalysis):
        self.analysis = analysis
        self.templates: dict[str, Template] = {}
        self._index: tuple[str, Index] | None = None
        self._loaded: tuple[Path, str] | None = None

    @classmethod
    def enrol(
        cls,
        source: str | Path | Mapping[str, Any],
        analysis: TinyFaceAnalysis,
        aligned: bool = False,
        taken: Collection[str] = (),
    ) -> "Gallery":
        """A gallery of a folder, FOLDER/IDENTITY/photo.jpg or FOLDER/IDENTITY.jpg, or of lists of `Face` by name.

        Of a photo the large and central face counts. aligned: the images are aligned crops, and no detector runs. Photos without
        a face, unreadable ones, and crops that are not square are left out and listed on stderr. taken: names of another gallery.
        Raises ValueError for a name that is taken or cannot be stored, before any photo is read, and where no identity is left.
        """
        gallery = cls(analysis)
        if isinstance(source, Mapping):
            check_names(source, taken)
            found: Iterable[tuple[str, Any]] = source.items()
        else:
            found = faces_of_photos(find_photos(Path(source), taken), analysis, aligned)
        for name, faces in found:
            gallery.add(name, faces)
        return gallery

    def __len__(self) -> int:
        return len(self.templates)

    @property
    def names(self) -> list[str]:
        """The identities, in the order of their enrolment."""
        return list(self.templates)

    @property
    def templates_ND(self) -> np.ndarray:
        """The templates, float32 (N, D), in the order of `names`."""
        if not self.templates:
            return np.empty((0, self.analysis.dim), np.float32)
        return np.stack([template.vector_D for template in self.templates.values()])

    def add(self, name: str, faces: Any) -> None:
        """Enrol an identity from a `Face` or several, pooled into one template.

        Raises ValueError for a name that is taken, empty or "unknown", and where no face has an embedding of this analysis.
        """
        check_names([name])
        if name in self.templates:
            raise ValueError(f"{name!r} is enrolled already; enrol all of an identity's images at once, or use another name")
        faces = as_faces(faces)
        check_faces(faces, self.analysis, f"the faces of {name!r}")
        template = template_of(faces)
        if template is None:
            raise ValueError(f"no face of {name!r} has an embedding; run TinyFaceAnalysis.get on its photos")
        self.templates[name] = template
        self._index = None

    def search(self, faces: Iterable[Any], top: int = 5, far: float = 0.01, index: str = "product") -> list[Match]:
        """Search each face, or each list of faces of one track (pooled into one template), among all identities.

        faces: of this analysis; a `Face` alone is a list of one.
        far: false-accept rate of one comparison; the threshold is that measured for the smaller px of the two faces, and the
        largest measured rate up to this one is used. Without a measured threshold there is no decision. index: a kind of
        `recognition.index.Index`. Raises ValueError for an empty gallery, a rate outside 0..1, top below 1, and faces of others.
        """
        if not self.templates:
            raise ValueError("the gallery is empty; enrol somebody first")
        if not 0 < far < 1 or top < 1:
            raise ValueError(f"far must lie between 0 and 1 and top be 1 or more, got far={far}, top={top}")
        probes = []
        for track in map(as_faces, as_faces(faces)):
            check_faces(track, self.analysis, "the faces to search")
            probes.append(template_of(track))
        usable = [probe for probe in probes if probe is not None]
        if self._index is None or self._index[0] != index:
            self._index = index, Index(self.templates_ND, index)
        queries_QD = np.array([probe.vector_D for probe in usable], np.float32).reshape(-1, self.analysis.dim)
        names, matches = self.names, []
        found = zip(*self._index[1].search(queries_QD, top), strict=True)
        for probe in probes:
            if probe is None:
                matches.append(NO_FACE)
                continue
            cosines_K, rows_K = next(found)
            candidates = [(names[row], float(cosine)) for row, cosine in zip(rows_K, cosines_K, strict=True) if row >= 0]
            best = self.templates[candidates[0][0]] if candidates else None
            matches.append(match_of(probe, best, candidates, far, self.analysis))
        return matches

    def merge(self, other: "Gallery", replace: bool = False) -> None:
        """Take over another gallery's identities. replace: instead of those of the same name, else these are a ValueError."""
        check_names(other.templates, () if replace else self.templates)
        self._check_networks({template.network for template in other.templates.values()})
        self.templates |= other.templates
        self._index = None

    def save(self, path: str | Path) -> None:
        """Write the gallery to one file, atomically.

        Raises ValueError where the file holds what this gallery was not loaded from, or has changed since: `add_to` merges.
        """
        # A link and its target are one file, with one lock.
        path = Path(path).resolve()
        with gallery_lock(path):
            if path.exists() and self._loaded != (path, file_sha256(path)):
                why = "has changed since it was loaded" if self._loaded and self._loaded[0] == path else "exists"
                raise ValueError(f"{path} {why}; nothing was written. `add_to` merges both galleries, or name another file")
            self._write(path)

    def add_to(self, path: str | Path, replace: bool = False) -> "Gallery":
        """Merge this gallery into the file, which other processes may write too, and return what the file then holds.

        Raises ValueError as `merge` and `load` do, and where another process holds the file's lock for a minute; then the file
        stays as it was.
        """
        path = Path(path).resolve()
        with gallery_lock(path):
            present = Gallery.load(path, self.analysis) if path.exists() else Gallery(self.analysis)
            present.merge(self, replace)
            present._write(path)
        return present

    @classmethod
    def load(cls, path: str | Path, analysis: TinyFaceAnalysis) -> "Gallery":
        """Read a gallery. Raises ValueError for a damaged file, and for one that was made with other networks."""
        path = Path(path)
        sha256 = file_sha256(path) if path.is_file() else ""
        arrays, names, meta = read_arrays(path)
        networks = [one["identity"] for one in meta["networks"]]
        gallery = cls(analysis)
        try:
            gallery._check_networks({networks[number] for number in np.unique(arrays["network"])})
        except ValueError as error:
            made = ", ".join(f"{one['name']} ({brief(one['identity'])})" for one in meta["networks"])
            raise ValueError(f"{path} was made with {made}; {error}") from error
        if names and arrays["templates"].shape[1] != analysis.dim:
            raise ValueError(f"{path} has templates of width {arrays['templates'].shape[1]}, the networks give {analysis.dim}")
        columns = (arrays[key].tolist() for key in ("px", "network", "count"))
        for name, vector_D, px, network, count in zip(names, arrays["templates"], *columns, strict=True):
            gallery.templates[name] = Template(vector_D, px, networks[network], count)
        gallery._loaded = path.resolve(), sha256
        return gallery

    def export(self, path: str | Path) -> None:
        """Write an .npz of `ids`, unicode (N,), and `vectors`, float32 (N, D), L2-normalised, for a vector database.

        Raises ValueError for a file that holds anything else, such as a gallery.
        """
        write_vectors(Path(path), self.names, self.templates_ND)

    def _write(self, path: Path) -> None:
        networks = list(self.analysis.networks.values())
        number = {network.identity: index for index, network in enumerate(networks)}
        templates = list(self.templates.values())
        arrays = {
            "templates": self.templates_ND,
            "px": np.array([template.px for template in templates], np.float32),
            "network": np.array([number[template.network] for template in templates], np.int32),
            "count": np.array([template.n_crops for template in templates], np.int32),
        }
        meta = {"networks": [{"name": network.name, "identity": network.identity} for network in networks]}
        write_arrays(path, arrays, self.names, meta)
        self._loaded = path, file_sha256(path)

    def _check_networks(self, identities: Iterable[str]) -> None:
        """Raise ValueError for a template of a network that this analysis does not have."""
        known = self.analysis.networks
        foreign = [identity for identity in identities if identity not in known]
        if foreign:
            raise ValueError(
                f"templates of another model ({', '.join(map(brief, foreign))}) cannot be compared with those of "
                f"{listed(known.values())}: use the models that made them, or enrol again"
            )
