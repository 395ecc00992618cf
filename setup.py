"""Package metadata. Recipes lie at the top of the repository and ship inside the package."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "aird_plugin" / "__init__.py").read_text())[1]

EXTRAS = {
    "onnx": ["onnx>=1.17", "onnxruntime>=1.20"],
    "insightface": ["insightface>=0.7.3", "onnx>=1.17", "onnxruntime>=1.20", "scikit-image>=0.26"],
    "arcface": ["scikit-learn>=1.5", "scipy>=1.14"],
    "report": ["scikit-learn>=1.5"],
    "faiss": ["faiss-cpu>=1.8"],
    # ByteTrack; brings supervision and PyAV, and no torch or torchvision of its own.
    "video": ["trackers>=2.6"],
    "prior": ["diffusers>=0.42"],
    "safetensors": ["safetensors>=0.4.3"],
    # Its finish_timeout bounds the wait for a lost network at the end of a run.
    "wandb": ["wandb>=0.31"],
}
EXTRAS["ijb"] = [*EXTRAS["insightface"], *EXTRAS["arcface"], "matplotlib>=3.9", "menpo>=0.11", "pandas>=2.2", "prettytable>=3.10"]
EXTRAS["dev"] = [
    *(requirement for extra in ("insightface", "prior", "faiss", "video") for requirement in EXTRAS[extra]),
    "pytest>=8",
    "mypy>=1.13",
    "pytest-xdist>=3.5",
    "ruff>=0.8",
]

# Recipes are files, not modules: each folder of them ships as package data of its own.
RECIPES = ["aird_plugin.recipes", *(f"aird_plugin.recipes.{path.name}" for path in (HERE / "recipes").glob("[a-z]*/"))]

setup(
    name="aird_plugin",
    version=VERSION,
    description="Makes InsightFace recognise tiny faces: distils small low-resolution students from an InsightFace teacher",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    author="The aird_plugin authors",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["aird_plugin", "aird_plugin.*"]), *RECIPES],
    package_dir={package: package.removeprefix("aird_plugin.").replace(".", "/") for package in RECIPES},
    package_data={
        "aird_plugin": ["py.typed"],
        "aird_plugin.demo": ["page/*"],
        "aird_plugin.report": ["style.css"],
        "aird_plugin.recipes": ["README.md"],
    },
    install_requires=[
        "torch>=2.4",
        "numpy>=1.26",
        "pillow>=10",
        "simplejpeg>=1.8",
        "easydict>=1.13",
        "filelock>=3.16",
        "tqdm>=4.66",
        "tensorboard>=2.17",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["aird = aird_plugin.__main__:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
