"""Load the named studies and write every table as CSV, for `same_results.py`."""

import sys

from bench import tables

for name in sys.argv[1:]:
    runs, curves = tables.load(f"results/{name}")
    side = {table: tables.load_side(f"results/{name}", table) for table in tables.SIDE}
    for table, frame in {"runs": runs, "curves": curves, **side}.items():
        frame.to_csv(f"{name}-{table}.csv", index=False)
