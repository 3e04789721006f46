"""Executes a notebook in a kernel of this interpreter, whatever kernels are installed for Jupyter beside it.

Jupyter finds a kernel by its name in many folders, JUPYTER_PATH's and the user's among them, and a "python3" there may
be any environment: its numbers would count as this one's. `python -m oneshot_lib.runs.kernel NOTEBOOK OUTPUT
FOLDER SECONDS` is what the book's pages are executed with, SECONDS being the most that a cell may take.
"""

import os
import sys

import papermill
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from traitlets import default

from oneshot_lib.files import home_variables


class OwnSpecs(KernelSpecManager):
    """One kernel under every name: `sys.executable -m ipykernel_launcher`."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(resource_dir=str(RESOURCES), **get_kernel_dict())


class OwnKernel(AsyncKernelManager):
    """A kernel of this interpreter."""

    @default("kernel_spec_manager")
    def _own_specs(self) -> KernelSpecManager:
        return OwnSpecs(parent=self)


def execute(notebook: str, output: str, parameters: dict, folder: str, **options) -> None:
    """Execute `notebook` with `parameters` in `folder`, and keep it with its outputs as `output`; `options` go to
    papermill. Raises what papermill does, `PapermillExecutionError` where a cell fails."""
    os.environ.update(home_variables())  # Jupyter does not work without a home
    papermill.execute_notebook(notebook, output, parameters, cwd=folder, kernel_name="python3", language="python",
                               progress_bar=False, kernel_manager_class=OwnKernel, **options)


if __name__ == "__main__":
    source, target, place, seconds = sys.argv[1:]
    execute(source, target, {}, place, execution_timeout=int(seconds))
