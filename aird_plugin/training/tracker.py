"""Weights & Biases: the lines of metrics.jsonl, by the recipe keys of arcface_torch. A failing tracker ends no run."""

import importlib.util
import json
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.json_files import read_object
from aird_plugin.utils.warning import warn

RUN_ID = "wandb.json"
# Time limits in seconds: of the login prompt, of the start, and of the last upload, which wandb would retry forever.
LOGIN_S, START_S, FINISH_S = 60, 240, 300
GRACE_S = 60


@dataclass(frozen=True)
class TrackerConfig:
    """Recipe keys of Weights & Biases, named as in arcface_torch.

    using_wandb: log the lines of metrics.jsonl there too, from rank 0. wandb_key: the API key, stored nowhere by this package;
    better set WANDB_API_KEY in the environment, or use `wandb login`. wandb_entity, wandb_project: None for wandb's defaults.
    wandb_resume: a resumed run continues its wandb run; False begins a new one. wandb_log_all: inside arcface_torch every rank
    logs a run of its own; the embedded loop logs means over the ranks, once. save_artifacts: also upload model.pt at each
    checkpoint. notes: text of the run. suffix_run_name: appended to the run's name.
    """

    using_wandb: bool = False
    wandb_key: str | None = field(default=None, repr=False)
    wandb_entity: str | None = None
    wandb_project: str | None = None
    wandb_resume: bool = False
    wandb_log_all: bool = False
    save_artifacts: bool = False
    notes: str | None = None
    suffix_run_name: str | None = None

    def check_installed(self) -> None:
        """Raise ImportError, naming the extra, where the package is needed and missing."""
        if not self.using_wandb:
            return
        found = importlib.util.find_spec("wandb")
        # wandb writes folders of this name, which Python takes for a namespace package.
        if found is None or found.origin is None:
            raise ImportError("using_wandb=True needs the package wandb: pip install 'aird_plugin[wandb]'")

    def for_arcface_torch(self) -> dict[str, Any]:
        """The keys for arcface_torch's own use of wandb; {} without using_wandb. Its log prints them: no API key."""
        keys = asdict(self) if self.using_wandb else {}
        keys.pop("wandb_key", None)
        return keys


class Tracker:
    """The wandb run of a training run. Every method is safe to call without one: not configured, or given up after an error.

    `wandb.init` starts a process that uploads; the methods only hand over. WANDB_MODE, WANDB_API_KEY and wandb's other variables
    have their usual effect.
    """

    def __init__(self, recipe: Any):
        self.config, self.output = recipe.tracker, Path(recipe.run.output)
        self.run: Any = None
        suffix = f"_{self.config.suffix_run_name}" if self.config.suffix_run_name else ""
        self.name = self.output.resolve().name + suffix
        if self.config.using_wandb:
            self.run = self._attempt("started", lambda: within(START_S, lambda: self._start(recipe)))

    def log(self, line: dict[str, Any]) -> None:
        """Log the values of a step; `step` is the x axis of all others."""
        if self.run is not None:
            self._attempt("written to", lambda: self.run.log(line))

    def save_model(self, file: Path, version: str) -> None:
        """Upload a weight file where the recipe sets it; wandb copies it first."""
        if self.run is not None and self.config.save_artifacts:
            self._attempt("given a model", lambda: self._log_artifact(file, version))

    def close(self, failed: bool) -> None:
        """Wait for the last upload, at most FINISH_S seconds; what is left stays in OUTPUT/wandb for `wandb sync`."""
        if self.run is not None:
            self._attempt("closed", lambda: within(FINISH_S + GRACE_S, lambda: self.run.finish(exit_code=int(failed))))

    def _attempt(self, what: str, action: Callable[[], Any]) -> Any:
        """The action's result; after an error the tracker is off and the training goes on."""
        try:
            return action()
        # Errors of wandb, the network and wandb's own process share no base class, and none is worth losing a run.
        except Exception as error:
            self.run = None
            reason = " ".join(str(error).split()) or type(error).__name__
            warn(
                f"wandb could not be {what} ({reason}); the run goes on without it, and metrics.jsonl has every line. "
                "WANDB_MODE=offline needs neither key nor network"
            )
            return None

    def _start(self, recipe: Any) -> Any:
        """Start the wandb run and return it."""
        import wandb

        path = self.output / RUN_ID
        continued = self.config.wandb_resume and recipe.run.resume and path.exists()
        run_id = read_object(path)["id"] if continued else secrets.token_hex(4)
        # Written before the start, so that a run killed during it continues this one.
        write_atomically(path, json.dumps({"id": run_id}).encode())
        run = wandb.init(
            entity=self.config.wandb_entity,
            project=self.config.wandb_project,
            name=self.name,
            notes=self.config.notes,
            id=run_id,
            resume="allow" if continued else None,
            # A run that the caller has open stays open.
            reinit="create_new",
            dir=self.output,
            settings=wandb.Settings(
                api_key=self.config.wandb_key,
                login_timeout=LOGIN_S,
                finish_timeout=FINISH_S,
                console="off",
                save_code=False,
                # The metadata have the command line, which may contain the key, and repository URLs.
                x_disable_meta=True,
            ),
        )
        run.config.update(recipe.flat(), allow_val_change=True)
        # wandb's own step counter would fall behind when a run resumes.
        run.define_metric("*", step_metric="step")
        return run

    def _log_artifact(self, file: Path, version: str) -> None:
        import wandb

        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", f"{self.name}_{version}", flags=re.ASCII), type="model")
        artifact.add_file(str(file))
        self.run.log_artifact(artifact)


def within(seconds: float, action: Callable[[], Any]) -> Any:
    """The action's result, from a thread that nothing waits for: TimeoutError after so many seconds. Raises what it raises."""
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["result"] = action()
        # Raised again in the caller's thread.
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=work, daemon=True, name="wandb")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer in {seconds:g} seconds")
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]
