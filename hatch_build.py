"""The package's build hook: compiles the native kernel; without a C++ compiler the package is built without it."""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeKernel(BuildHookInterface):  # type: ignore[type-arg]
    """Runs for wheels and for editable installs; in the latter the library lies beside its source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Build the library and put it into the wheel, which is then one for this platform."""
        kernel = _script(Path(self.root, "rnn", "kernels", "build.py"))
        # Never one of an older source.
        kernel.LIBRARY.unlink(missing_ok=True)
        try:
            kernel.build()
        except kernel.BuildError as error:
            self.app.display_warning(f"Without the native kernel, the workspace engine runs: {error}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["artifacts"].append("/rnn/kernels/libunroll.so")


def _script(path: Path) -> ModuleType:
    """A module by its path: the package that it belongs to is not installed yet."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - a file that is there
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
