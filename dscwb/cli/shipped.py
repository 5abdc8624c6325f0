"""What comes with dscwb: `dscwb lab` opens its notebooks, `dscwb devices` lists the datasheets,
`dscwb paper` writes the paper's tables and maps computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import dscwb
from dscwb.cli.options import say
from dscwb.writing import write_csv

if TYPE_CHECKING:
    import pandas as pd

    from dscwb.graph import ModelGraph
    from dscwb.paper import Pair

app = typer.Typer(rich_markup_mode=None)

WHERE = "Folder of profiles; those that come with dscwb if left out."
OF_YOURS = "a machine measured in that folder, for a pair of your own"


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where to work; made if need be.")] = Path("."),
) -> None:
    """Copy the notebooks into a folder and open JupyterLab on the workbench there.

    Notebooks that are there already stay as they are. What follows the folder goes to JupyterLab.

    \b
    Example:
      dscwb lab splitting --no-browser
    """  # noqa: D301
    from dscwb.cli.lab import copy_notebooks, open_lab

    new = copy_notebooks(folder)
    say(f"{len(new)} notebooks copied to {folder.resolve()}")
    raise typer.Exit(open_lab(folder, context.args))


@app.command()
def devices() -> None:
    """List the boards and cards whose datasheets are known: memory, speed, source.

    \b
    Example:
      dscwb devices
    """  # noqa: D301
    from dscwb.units import format_bytes, format_number

    known = dscwb.catalogue()
    wide = max(len(one.name) for one in known)
    for one in known:
        peaks = one.peak_flop_per_s.items()
        speeds = ", ".join(f"{dtype} {format_number(peak / 1e12)}" for dtype, peak in peaks)
        size, rate = format_bytes(one.memory_bytes), format_bytes(one.bandwidth_bytes_per_s)
        say(
            f"{one.name:<{wide}}  {size} at {rate}/s; TFLOP/s: {speeds}",
            f"{'':<{wide}}  {one.source}",
        )


@app.command()
def paper(
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="Folder to write into.")
    ],
    profiles: Annotated[Path, typer.Option(help=WHERE)] = Path("data/profiles"),
    edge: Annotated[str, typer.Option(help=f"Device, {OF_YOURS}.")] = "",
    server: Annotated[str, typer.Option(help=f"Server, {OF_YOURS}.")] = "",
) -> None:
    """Compute the tables and maps of arXiv 2205.11269 again.

    Writes rates.csv, bottlenecks.csv, gains.csv, claims.csv, static-splits.csv and
    modelled-beside-measured.csv, and as standalone pages gains.html and the best-split maps of
    V1-B4, V2-S and V2-L. First comes the paper's setup as measured on two slices of one GPU; its
    own hardware is modelled.

    \b
    Examples:
      dscwb paper -o paper
      dscwb paper -o paper --profiles mine --edge "Jetson Orin" --server "NVIDIA L4"
    """  # noqa: D301
    from dscwb import paper
    from dscwb.profiles.library import read_profiles

    known = paper.PUBLISHED
    read, left_out = read_profiles(profiles)
    say(*left_out)
    given = [one for one in read.values() if one.graph.model in known]
    found = {one.graph.model: one.graph for one in given}
    graphs = [found[model] for model in known if model in found]
    if not graphs:
        raise ValueError(
            f"No EfficientNet profiles in {profiles}; profile some of {', '.join(known)}."
        )
    own = (paper.measured_pair(given, edge, server),) if edge or server else ()
    pairs = (*own, *paper.known_pairs(given))
    output.mkdir(parents=True, exist_ok=True)
    _write_tables(graphs, pairs, output)
    _write_maps(graphs, pairs, output)
    if not any(pair.profiles for pair in pairs):
        machines = "; ".join(paper.measured_machines(given)) or "none"
        say(
            "Only modelled pairs: to compare two machines measured here, name them with --edge and "
            f"--server. Here are {machines}."
        )
    say(f"saved {output}")


def _write_tables(graphs: Sequence[ModelGraph], pairs: Sequence[Pair], output: Path) -> None:
    """All tables, the figure of the first pair's gains, and the main numbers on the screen."""
    from dscwb import paper
    from dscwb.figures import plot_gains, save_figure

    gains = paper.gain_table(graphs, pairs)
    tables = {
        "rates": paper.rate_table(),
        "bottlenecks": paper.bottleneck_table(graphs),
        "gains": gains,
        "claims": paper.claim_table(gains),
        "static-splits": _static_splits(graphs, pairs),
    }
    if pairs[0].profiles:
        tables["modelled-beside-measured"] = paper.modelled_beside_measured(graphs, pairs[0])
    for name, table in tables.items():
        write_csv(table, output / f"{name}.csv")
    save_figure(plot_gains(gains), output / "gains.html")
    agree = tables["bottlenecks"].agrees
    say(f"{agree.sum()} of {len(agree)} models agree in all counts of bottlenecks")
    say("What the machines can do, measured here and told of the paper's:")
    say(_shown(tables["rates"]))
    say("Mean gains over the models, and how many lie below, within and above 20 to 30 %:")
    say(_shown(tables["claims"]))
    if pairs[0].profiles:
        times = tables["modelled-beside-measured"].drop_duplicates("model")
        say(f"T modelled for {paper.PAPERS_PAIR.name} over T measured on {pairs[0].name}:")
        say(_shown(times[["model", "batch_sizes", "device", "server"]]))


def _static_splits(graphs: Sequence[ModelGraph], pairs: Sequence[Pair]) -> pd.DataFrame:
    """What always using one split costs, on the first pair and on the paper's own."""
    import pandas as pd

    from dscwb import paper

    return pd.concat(
        study.static_splits().assign(model=graph.model, pair=pair.name)
        for pair in {one.name: one for one in (pairs[0], paper.PAPERS_PAIR)}.values()
        for graph in graphs
        if (study := paper.study_for(graph, pair, paper.CONVENTIONS[0]))
    )


def _write_maps(graphs: Sequence[ModelGraph], pairs: Sequence[Pair], output: Path) -> None:
    """Best splits of the paper's three models, on the first pair and on the paper's own."""
    from dscwb import paper
    from dscwb.figures import plot_best_split, save_figure

    wanted = [(pairs[0], one, "") for one in paper.CONVENTIONS[:2]]
    if pairs[0] is not paper.PAPERS_PAIR:
        wanted.append((paper.PAPERS_PAIR, paper.CONVENTIONS[0], "-modelled"))
    for graph in graphs:
        for pair, convention, ending in wanted if graph.model in paper.MAPS else ():
            if study := paper.study_for(graph, pair, convention):
                written = (
                    f"{convention.input_encoding.name}-{convention.feature_encoding.name}{ending}"
                )
                save_figure(plot_best_split(study), output / f"{graph.model}-{written}.html")


def _shown(table: pd.DataFrame) -> str:
    return table.to_string(index=False, float_format="{:.2f}".format)
