"""Write the table of the documentation from the runs: python -m tests.trainers.run"""

import importlib.metadata
import json
from pathlib import Path

from tests.trainers.routes import ROUTES, error

RECORD = Path(__file__).parents[2] / "docs" / "trainers" / "record.json"
PACKAGES = ["torch", "lightning", "accelerate", "transformers", "peft", "timm", "skorch"]


def main() -> None:
    rows = []
    for route in ROUTES:
        errors = {geometry: float(f"{error(route, geometry):.1e}") for geometry in route.geometries}
        rows.append({"trainer": route.trainer, "route": route.settings, "errors": errors})
        print(rows[-1], flush=True)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    RECORD.write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
