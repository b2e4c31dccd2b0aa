"""The notebook under examples/, executed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "examples" / "notebook" / "explore.ipynb"


class _ThisPython(AsyncKernelManager):
    """Starts a kernel in the Python of these tests, whatever kernels are registered on the machine."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
        )


def test_the_notebook_is_stored_without_outputs() -> None:
    """So that a change of it can be read."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(
        cell.outputs == [] and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code"
    )


async def test_the_notebook_runs_and_shows_frames_and_charts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a planted run to its tables and charts, inside the event loop of Jupyter."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, km=_ThisPython(), timeout=120, resources={"metadata": {"path": NOTEBOOK.parent}})
    await client.async_execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    charts = [output for output in shown if "vega-lite" in output.get("data", {}).get("text/html", "")]
    frames = [output for output in shown if "shape: (" in output.get("data", {}).get("text/plain", "")]
    assert (len(charts), len(frames)) == (9, 3)
    ranked = next(output.data["text/plain"] for output in frames if "converged" in output.data["text/plain"])
    assert re.search(r"shape: \(24, 8\)", ranked)
    assert notebook.cells[-1].outputs[0].text.startswith("user: ")
