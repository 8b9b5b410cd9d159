"""The tables: their columns and units, how runs are written, and how they are read.

A study is a folder::

    results/<study>/runs/<run_id>/run.json         one run: its row of `runs`, and its whole config
    results/<study>/runs/<run_id>/curves.parquet   its rows of `curves`
    results/<study>/runs/<run_id>/best.pt          its weights of the lowest validation loss, with train.save_best
    results/<study>/<side table>/<part>.parquet    rows of a side table (see SIDE), a file a measurement
    results/<study>/{runs,curves}.{parquet,csv}    all runs together, built from the folders
    results/<study>/<side table>.{parquet,csv}     all parts together
    results/<study>/inflight/<run_id>.json         a run that a process is working on, locked by it

The run folders are the truth. They are written aside, synced and renamed, so a kill at any moment
loses at most the run in flight; the study's tables can be rebuilt from them at any time.
"""

from bench.tables.columns import CLAIM_RUNS as CLAIM_RUNS
from bench.tables.columns import CURVES as CURVES
from bench.tables.columns import DONE as DONE
from bench.tables.columns import FACTS as FACTS
from bench.tables.columns import HYPERPARAMETER_PREFIX as HYPERPARAMETER_PREFIX
from bench.tables.columns import MEMORY as MEMORY
from bench.tables.columns import PHASES as PHASES
from bench.tables.columns import QUALITIES as QUALITIES
from bench.tables.columns import RUNS as RUNS
from bench.tables.columns import SCHEMA_VERSION as SCHEMA_VERSION
from bench.tables.columns import SIDE as SIDE
from bench.tables.columns import SPLITS as SPLITS
from bench.tables.columns import STAGES as STAGES
from bench.tables.columns import STATUSES as STATUSES
from bench.tables.columns import STEP_COSTS as STEP_COSTS
from bench.tables.columns import SURFACES as SURFACES
from bench.tables.columns import TRAJECTORIES as TRAJECTORIES
from bench.tables.columns import Column as Column
from bench.tables.frames import ARROW_TYPES as ARROW_TYPES
from bench.tables.frames import CURVES_SCHEMA as CURVES_SCHEMA
from bench.tables.frames import NewerSchema as NewerSchema
from bench.tables.frames import Study as Study
from bench.tables.frames import check_values as check_values
from bench.tables.frames import check_version as check_version
from bench.tables.frames import checked_row as checked_row
from bench.tables.frames import curves_table as curves_table
from bench.tables.frames import one_line as one_line
from bench.tables.frames import study_of as study_of
from bench.tables.frames import typed_frame as typed_frame
from bench.tables.frames import typed_runs as typed_runs
from bench.tables.locks import LOST as LOST
from bench.tables.locks import RunLock as RunLock
from bench.tables.locks import num_in_flight as num_in_flight
from bench.tables.locks import recover as recover
from bench.tables.read import check_study as check_study
from bench.tables.read import file_stamp as file_stamp
from bench.tables.read import find as find
from bench.tables.read import find_side as find_side
from bench.tables.read import latest as latest
from bench.tables.read import load as load
from bench.tables.read import load_side as load_side
from bench.tables.read import read_folders as read_folders
from bench.tables.read import read_record as read_record
from bench.tables.read import recorded as recorded
from bench.tables.read import run_folder as run_folder
from bench.tables.read import run_id as run_id
from bench.tables.write import build as build
from bench.tables.write import remove_side as remove_side
from bench.tables.write import write_run as write_run
from bench.tables.write import write_side as write_side
