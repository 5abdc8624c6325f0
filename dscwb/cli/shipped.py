"""What comes with dscwb: `dscwb lab` opens its notebooks, `dscwb devices` lists the datasheets,
`dscwb paper` writes the paper's tables and maps computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dscwb
from dscwb.cli.options import command, option, say
from dscwb.writing import write_csv

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Dynamic split computing, computed again"
ABOUT = (
    "The tables and maps of A. Bakhtiarnia et al., Dynamic Split Computing for Efficient Deep Edge "
    "Intelligence (arXiv 2205.11269), from profiles that say of themselves whether they are "
    "measured or modelled. notebooks/03-paper.ipynb says what agrees."
)
OF_YOURS = "a machine measured in that folder, for a pair of your own."


@command(option("folder", "Where to work; made if need be.", Path, Path("."), nargs="?"))
def lab(folder: Path, flags: Sequence[str]) -> int:
    """Copy the notebooks into a folder and open JupyterLab on the workbench there.

    Notebooks that are there already stay as they are. Other options go to JupyterLab.

    Example:
      dscwb lab splitting --no-browser
    """
    from dscwb.cli.lab import copy_notebooks, open_lab

    new = copy_notebooks(folder)
    say(f"{len(new)} notebooks copied to {folder.resolve()}")
    return open_lab(folder, flags)


@command()
def devices() -> None:
    """List the boards and cards whose datasheets are known: memory, speed, source.

    Example:
      dscwb devices
    """
    from dscwb.units import format_bytes, format_number

    known = dscwb.catalogue()
    wide = max(len(one.name) for one in known)
    for one in known:
        peaks = one.peak_flop_per_s.items()
        speeds = ", ".join(f"{dtype} {format_number(peak / 1e12)}" for dtype, peak in peaks)
        size, rate = format_bytes(one.memory_bytes), format_bytes(one.bandwidth_bytes_per_s)
        say(
            f"{one.name:<{wide}}  {size} at {rate}/s; TFLOP/s: {speeds}",
            f"{'':{wide}}  {one.source}",
        )


@command(
    option("-o --output", "Folder to write into.", Path, required=True),
    option("--profiles", "Folder of profiles.", Path, Path("data/profiles")),
    option("--edge", f"Device, {OF_YOURS}", default=""),
    option("--server", f"Server, {OF_YOURS}", default=""),
)
def paper(output: Path, profiles: Path, edge: str, server: str) -> None:
    """Compute the tables and maps of arXiv 2205.11269 again.

    Writes rates.csv, bottlenecks.csv, gains.csv, claims.csv, static-splits.csv and
    modelled-beside-measured.csv, and index.html with all of them and every figure: the gains of
    each pair, and the best-split maps of V1-B4, V2-S and V2-L. First comes the paper's setup as
    measured on two slices of one GPU; its own hardware is modelled.

    Examples:
      dscwb paper -o paper
      dscwb paper -o paper --profiles mine --edge "Jetson Orin" --server "NVIDIA L4"
    """
    import pandas as pd

    from dscwb import paper
    from dscwb.figures import plot_best_split, plot_gains
    from dscwb.profiles.library import read_profiles
    from dscwb.reporting.gallery import gallery

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
    first, theirs = pairs[0], paper.PAPERS_PAIR
    gains = paper.gain_table(graphs, pairs)
    tables = {
        "rates": paper.rate_table(),
        "bottlenecks": paper.bottleneck_table(graphs),
        "gains": gains,
        "claims": paper.claim_table(gains),
        # What always using one split costs.
        "static-splits": pd.concat(
            study.static_splits().assign(model=graph.model, pair=pair.name)
            for pair in ([first] if first is theirs else [first, theirs])
            for graph in graphs
            if (study := paper.study_for(graph, pair, paper.CONVENTIONS[0]))
        ),
    }
    if first.profiles:
        tables["modelled-beside-measured"] = paper.modelled_beside_measured(graphs, first)
    for name, table in tables.items():
        write_csv(table, output / f"{name}.csv")
    figures = [plot_gains(gains, pair=name) for name in dict.fromkeys(gains.pair)]
    maps = [(first, one) for one in paper.CONVENTIONS[:2]]
    maps += [(theirs, paper.CONVENTIONS[0])] if first is not theirs else []
    for graph in graphs:
        for pair, convention in maps if graph.model in paper.MAPS else ():
            if study := paper.study_for(graph, pair, convention):
                figures.append(plot_best_split(study))
    gallery(output / "index.html", TITLE, ABOUT, figures, tables)
    agree = tables["bottlenecks"].agrees
    say(f"{agree.sum()} of {len(agree)} models agree in all counts of bottlenecks")
    say("What the machines can do, measured here and told of the paper's:")
    say(_shown(tables["rates"]))
    say("Mean gains over the models, and how many lie below, within and above 20 to 30 %:")
    say(_shown(tables["claims"]))
    if first.profiles:
        times = tables["modelled-beside-measured"].drop_duplicates("model")
        say(f"T modelled for {theirs.name} over T measured on {first.name}:")
        say(_shown(times[["model", "batch_sizes", "device", "server"]]))
    if not any(pair.profiles for pair in pairs):
        machines = "; ".join(paper.measured_machines(given)) or "none"
        say(
            "Only modelled pairs: to compare two machines measured here, name them with --edge and "
            f"--server. Here are {machines}."
        )
    say(f"saved {output}; open {output / 'index.html'}")


def _shown(table: pd.DataFrame) -> str:
    return table.to_string(index=False, float_format="{:.2f}".format)
