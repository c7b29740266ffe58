"""A study as a sweep of Weights & Biases, whose agents run its cells through the study's own ledger."""

from __future__ import annotations

from typing import Any

from vlframe.config.typed import to_yaml
from vlframe.studies.study import Study


def wandb_sweep(study: Study) -> str:
    """Return the YAML that ``wandb sweep`` takes. An agent runs one cell and seed at a time; one that is done already,
    or that another process is at, is not run again."""
    metric = study.config.metrics[0] if study.config.metrics else None
    sweep: dict[str, Any] = {
        "name": study.name,
        "description": f"vlframe study {study.file.name}: {len(study.cells)} cells, {len(study.config.seeds)} seed(s)",
        "method": "grid",
        **({"metric": {"name": f"eval/{metric}", "goal": "maximize"}} if metric else {}),
        "parameters": {
            "cell": {"values": [cell.label for cell in study.cells]},
            "seed": {"values": list(study.config.seeds)},
        },
        # The agent puts in what it calls env, and the chosen parameters as key=value.
        "command": [r"\${env}", "vlframe", "study", "run", str(study.file), "logger=wandb", r"\${args_no_hyphens}"],
    }
    return to_yaml(sweep).replace(r"\${", "${")
