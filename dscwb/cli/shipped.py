"""What comes with dscwb, on the command line: `dscwb lab` opens its notebooks, `dscwb paper` writes
the paper's tables and maps computed again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)

WHERE = "Folder of profiles; those that come with dscwb if left out."


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
    print(f"{len(new)} notebooks copied to {folder.resolve()}")
    raise typer.Exit(open_lab(folder, context.args))


@app.command()
def paper(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")],
    profiles: Annotated[Path, typer.Option(help=WHERE)] = Path("data/profiles"),
) -> None:
    """Compute the tables and maps of arXiv 2205.11269 again.

    Writes bottlenecks.csv, gains.csv, claims.csv and static-splits.csv, and the best-split maps of
    V1-B4, V2-S and V2-L as standalone pages. The paper's hardware is modelled, not measured.

    \b
    Example:
      dscwb paper -o paper
    """  # noqa: D301
    import pandas as pd

    from dscwb import paper
    from dscwb.figures import plot_best_split, save_figure
    from dscwb.shelf import Shelf

    known = [one.model for one in paper.PUBLISHED]
    found = {one.graph.model: one for one in Shelf(profiles).profiles()}
    graphs = [found[model].graph for model in known if model in found]
    if not graphs:
        raise ValueError(f"No EfficientNet profiles in {profiles}; profile some of {known}.")
    output.mkdir(parents=True, exist_ok=True)
    counted = paper.bottleneck_table(graphs)
    pair = paper.measured_pair(Shelf(profiles).profiles())
    pairs = [paper.PAPERS_PAIR, paper.JETSON_PAIR, *([pair] if pair.profiles else [])]
    gains = paper.gain_table(graphs, pairs)
    claims = paper.claim_table(gains)
    studies = {
        graph.model: paper.study_for(graph, paper.PAPERS_PAIR, paper.CONVENTIONS[0])
        for graph in graphs
    }
    statics = pd.concat(
        study.static_splits().assign(model=model) for model, study in studies.items() if study
    )
    for name, table in (
        ("bottlenecks", counted),
        ("gains", gains),
        ("claims", claims),
        ("static-splits", statics),
    ):
        table.to_csv(output / f"{name}.csv", index=False)
    for model in paper.MAPS:
        if study := studies.get(model):
            save_figure(plot_best_split(study), output / f"{model}.html")
    print(f"{counted.agrees.sum()} of {len(counted)} models agree in all counts of bottlenecks")
    print("Mean gains over the models, and how many lie below, within and above 20 to 30 %:")
    print(claims.to_string(index=False, float_format="{:.2f}".format))
    if not pair.profiles:
        print("No model here was measured on two machines: only modelled pairs.")
    print(f"saved {output}")
