"""The notebook under examples/, executed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat

from tests.commands import environment

NOTEBOOK = Path(__file__).parent.parent / "examples" / "notebook" / "explore.ipynb"

# Executes a notebook in the Python that runs this, whatever kernels are registered on the machine. A process of its own: Jupyter
# leaves event loops behind.
PROGRAM = """
import sys
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

class ThisPython(AsyncKernelManager):
    @property
    def kernel_spec(self):
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python")

path, folder, output = sys.argv[1:]
notebook = nbformat.read(path, as_version=4)
NotebookClient(notebook, km=ThisPython(), timeout=120, resources={"metadata": {"path": folder}}).execute()
nbformat.write(notebook, output)
"""


def test_the_notebook_is_stored_without_outputs() -> None:
    """So that a change of it can be read."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(
        cell.outputs == [] and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code"
    )


def test_the_notebook_runs_and_shows_frames_and_charts(tmp_path: Path) -> None:
    """From a planted run to its tables and charts, inside the event loop of Jupyter."""
    executed = tmp_path / "executed.ipynb"
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(NOTEBOOK), str(NOTEBOOK.parent), str(executed)],
        env=environment() | {"IPYTHONDIR": str(tmp_path / "ipython")},
        timeout=150,
        check=True,
    )
    notebook = nbformat.read(executed, as_version=4)
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    charts = [output for output in shown if "vega-lite" in output.get("data", {}).get("text/html", "")]
    frames = [output for output in shown if "shape: (" in output.get("data", {}).get("text/plain", "")]
    assert (len(charts), len(frames)) == (9, 3)
    ranked = next(output.data["text/plain"] for output in frames if "converged" in output.data["text/plain"])
    assert re.search(r"shape: \(24, 8\)", ranked)
    assert notebook.cells[-1].outputs[0].text.startswith("user: ")
