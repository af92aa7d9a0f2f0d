"""Where a checkpoint's files are: a folder, or a hub repository in the hub client's cache."""

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from ..errors import UsageError
from .inside import SMALL_FILES, WEIGHT_FILES, refuse_what_leads_outside
from .weights import has_weights


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The folder of a checkpoint, and where it came from."""

    pretrained: str
    """As the user named it."""
    folder: Path
    """Holds config.json and, after `fetch_weights`, the weights."""
    on_hub: bool
    """Whether `pretrained` is a hub id."""

    @classmethod
    def open(cls, pretrained: str, revision: str | None = None) -> "Checkpoint":
        """Find a folder, or fetch all but the weights of a hub repository.

        Args:
            pretrained: A folder, else a hub id. With HF_HUB_OFFLINE=1 only the local cache is looked at.
            revision: Branch, tag or commit of a hub id.

        Raises:
            UsageError: If there is neither, if a folder is given a revision, if it is an adapter's, or if a file of it
                lies elsewhere.
        """
        path = Path(pretrained).expanduser()
        if pretrained and path.is_dir():
            if revision is not None:
                raise UsageError(
                    f"revision={revision!r} needs a hub id, got the folder {pretrained!r}; leave it unset."
                )
            return cls(pretrained=pretrained, folder=_sound(path), on_hub=False)
        if path.is_file():
            raise UsageError(f"pretrained must be a folder or a hub id, got the file {pretrained!r}; give its folder.")
        if not is_hub_id(pretrained):
            raise UsageError(f"pretrained must be an existing folder or a hub id (owner/name), got {pretrained!r}.")
        folder = _sound(fetch(pretrained, revision, SMALL_FILES, option="pretrained"))
        return cls(pretrained=pretrained, folder=folder, on_hub=True)

    def fetch_weights(self) -> None:
        """Download the weights of a hub repository, at the very commit that `open` saw; nothing if they are there."""
        if self.on_hub and not has_weights(self.folder):
            fetch(self.pretrained, self.commit_hash, WEIGHT_FILES, option="pretrained")

    @property
    def commit_hash(self) -> str | None:
        """The commit, where the folder is one that the hub client made; None for any other folder."""
        return commit_of(self.folder)


def commit_of(folder: Path) -> str | None:
    """The commit of a folder that the hub client made; None for any other folder."""
    folder = folder.resolve()
    return folder.name if folder.parent.name == "snapshots" else None


def is_hub_id(name: str) -> bool:
    """Whether a hub repository may have this name."""
    return re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name) is not None


def _sound(folder: Path) -> Path:
    # transformers would load it on top of the weights unasked, if peft is installed.
    if (folder / "adapter_config.json").exists():
        raise UsageError(
            f"{folder} must hold the weights of a whole network, got an adapter (adapter_config.json); name the "
            f"checkpoint that it was trained on, and the adapter as peft=FOLDER, or merge them by `lm-eval-mdlm merge`."
        )
    refuse_what_leads_outside(folder)
    return folder


def fetch(repository: str, revision: str | None, files: tuple[str, ...], *, option: str) -> Path:
    """The folder of a hub repository's files, which match patterns.

    Raises:
        UsageError: If the repository can be read neither on the hub nor in the local cache; names the `option`.
    """
    try:
        try:
            return Path(snapshot_download(repository, revision=revision, allow_patterns=list(files)))
        except OfflineModeIsEnabled:
            # Clients before 2.0 do not look into the cache by themselves when the revision is a commit.
            return Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except (OSError, ValueError, HfHubHTTPError) as error:
        at = f" at revision {revision!r}" if revision else ""
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{option}={repository!r} is no local folder, and the hub repository{at} could not be read or found in "
            f"the local cache: {type(error).__name__}: {reason[:300]}"
        ) from None
