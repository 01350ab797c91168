"""Register the best run of a sweep in MLflow's model registry: python orchestration/register.py SWEEP --name NAME"""

import argparse
import os
import sys
from collections.abc import Sequence

EPILOG = """
Which run is best is by the first metric of the sweep's experiment, in its better direction, among the finished runs
that no other run replaced. A version of the same weights is not made twice. Serve it:

  MLFLOW_TRACKING_URI=sqlite:///outputs/mlflow.db mlflow models serve -m models:/NAME@best --env-manager local -p 5001
"""


def cli() -> int:
    """Run the command `fcos-register`; returns the exit code."""
    from orchestration.cli.entry import run_entry

    return run_entry(
        sys.argv[1:], lambda arguments, _: main(arguments), lambda _: make_parser().format_help(), json="none"
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="register.py",
        description="Register the weights of a sweep's best run, or of one run, as a model that MLflow serves.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", help="a sweep's name, run id or folder; or that of a single run or of one trial")
    parser.add_argument("--name", required=True, help="name of the registered model")
    parser.add_argument("--alias", default="best", help="alias of the version (default: best)")
    parser.add_argument("--arm", help="the best run of this arm")
    parser.add_argument("--seed", type=int, help="the best run of this seed")
    parser.add_argument("--output", default="outputs", help="folder of the default store (default: outputs)")
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI"),
        help="MLflow store (default: $MLFLOW_TRACKING_URI, or mlflow.db in --output)",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Register the best run; returns the exit code."""
    from pathlib import Path

    from fcos.errors import ConfigError
    from fcos.storage.store_conventions import default_uri, public_uri
    from orchestration.cli.console import OutputConsole
    from orchestration.cli.entry import OK
    from orchestration.config.experiment import NAME, NAME_RULE
    from orchestration.registry.best_run import Choice, choose_run
    from orchestration.registry.register_model import check_alias, register
    from orchestration.tracking.addresses import absolute_uri, sqlite_file
    from orchestration.tracking.problems import store_errors
    from orchestration.tracking.store import connect, open_store
    from orchestration.tracking.tracker import artifact_folder

    options, console = make_parser().parse_args(arguments), OutputConsole()
    if not NAME.fullmatch(options.name):
        raise ConfigError(f"--name {options.name}: {NAME_RULE}")
    check_alias(options.alias)
    output = Path(options.output).absolute()
    uri = None if options.tracking_uri is None else absolute_uri(options.tracking_uri)
    address = uri or default_uri(output)
    file = sqlite_file(address)
    if file is not None and not file.exists():
        raise ConfigError(f"no tracking store at {public_uri(address)}; give --output or --tracking-uri")
    client = connect(address)
    with store_errors(address):
        chosen = choose_run(client, address, options.run, Choice(options.arm, options.seed))
        experiment = client.get_experiment(chosen.experiment_id).name
    console.print(chosen.line, highlight=False, soft_wrap=True, markup=False)
    store = open_store(address, experiment, artifact_folder(uri, output))
    problem = store.artifact_problem()
    if problem is not None:
        raise ConfigError(f"the model cannot be stored: {problem}; make that location writable from here")
    with console.status("the model is written, tried and stored ..."):
        registered = register(store.client, address, chosen, options.name, options.alias)
    served = f"mlflow models serve -m models:/{registered.name}@{registered.alias} --env-manager local -p 5001"
    for line in (registered.line, f"serve it: MLFLOW_TRACKING_URI={public_uri(address)} {served}"):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    return OK


if __name__ == "__main__":
    sys.exit(cli())
