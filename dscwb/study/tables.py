"""A study as labelled tables, and as files of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dscwb.units import BITS_PER_BYTE, FULL_OFFLOADING, NO_OFFLOADING
from dscwb.writing import atomically, write_csv

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from dscwb.study.study import Study

FORMATS = (".csv", ".parquet", ".nc")


def frame(study: Study, values: NDArray[Any]) -> pd.DataFrame:
    """Values of every point: rows are batch sizes, columns data rates in bit/s."""
    import pandas as pd

    index = pd.Index(study.batch_sizes, name="batch_size")
    columns = pd.Index(study.data_rates_bps, name="data_rate_bps")
    return pd.DataFrame(values, index=index, columns=columns)


def switching_rates(study: Study) -> pd.DataFrame:
    """Exact data rates at which the best split changes.

    Returns:
        One row a change: ``batch_size``, ``data_rate_bps``, the split that is best at and
        ``below`` that rate and the one ``above`` it.
    """
    import pandas as pd

    names = study.splits
    rows = [
        (size, rate, names[low], names[high])
        for size, e in zip(study.batch_sizes, study.envelopes, strict=True)
        for rate, low, high in zip(e.switching_rates_bps, e.splits[:-1], e.splits[1:], strict=True)
    ]
    return pd.DataFrame(rows, columns=["batch_size", "data_rate_bps", "below", "above"])


def static_splits(study: Study) -> pd.DataFrame:
    """Every split if it were always used, over the grid.

    Returns:
        One row a candidate, from input to output: ``split``, ``mean_gain`` of choosing
        dynamically instead, ``mean_regret`` and ``max_regret`` in seconds (or joules), and the
        ``share`` of points at which it is the best one. NaN where it is not possible at every
        batch size.
    """
    import pandas as pd

    regrets = [study.regret(name).to_numpy() for name in study.splits]
    return pd.DataFrame(
        {
            "split": study.splits,
            "mean_gain": [study.mean_gain(name) for name in study.splits],
            "mean_regret": [float(regret.mean()) for regret in regrets],
            "max_regret": [float(regret.max()) for regret in regrets],
            "share": [float((study.best == i).mean()) for i in range(len(study.splits))],
        }
    )


def to_pandas(study: Study) -> pd.DataFrame:
    """The grid as a long table, one row a point, with latency and gains."""
    import pandas as pd

    rows, columns = np.indices(study.best.shape).reshape(2, -1)
    split, lines = study.best.ravel(), study.lines
    table = {
        "batch_size": np.array(study.batch_sizes)[rows],
        "data_rate_bps": study.data_rates_bps[columns],
        "best_split": np.array(study.splits, dtype=object)[split],
        "latency_s": study.latency_s.ravel(),
        "wait_s": lines.wait_s[rows],
        "head_s": lines.head_s[rows, split],
        "tail_s": lines.tail_s[rows, split],
        "payload_bytes": lines.bits[rows, split] / BITS_PER_BYTE,
        "interpolated": lines.interpolated[rows],
    }
    return pd.DataFrame(table | {name: values.ravel() for name, values in _worth(study).items()})


def to_xarray(study: Study) -> xr.Dataset:
    """The grid as a labelled dataset; needs xarray.

    Dimensions ``batch_size``, ``data_rate_bps`` (bit/s) and ``split``. Over batch size and rate:
    ``best_split`` (name), ``latency_s``, gains over no and full offloading. Over batch size and
    split: ``head_s``, ``tail_s``, ``link_s``, ``payload_bytes``. Over batch size: ``wait_s``,
    ``interpolated``. Attributes say model, machines, scenario and version.
    """
    import xarray as xr

    points, candidates = ("batch_size", "data_rate_bps"), ("batch_size", "split")
    lines, joules = study.lines, {"device_energy_j": {"units": "J"}}
    values: dict[str, Any] = {
        "best_split": (points, np.array(study.splits)[study.best]),
        "latency_s": (points, study.latency_s, {"units": "s"}),
        "head_s": (candidates, lines.head_s, {"units": "s"}),
        "tail_s": (candidates, lines.tail_s, {"units": "s"}),
        "link_s": (candidates, lines.link_s, {"units": "s"}),
        "payload_bytes": (candidates, lines.bits / BITS_PER_BYTE, {"units": "byte"}),
        "wait_s": (("batch_size",), lines.wait_s, {"units": "s"}),
        "interpolated": (("batch_size",), lines.interpolated.astype(np.int8)),
    }
    values |= {name: (points, v, joules.get(name, {})) for name, v in _worth(study).items()}
    places = {
        "batch_size": np.array(study.batch_sizes, dtype=np.int32),
        "data_rate_bps": ("data_rate_bps", study.data_rates_bps, {"units": "bit/s"}),
        "split": np.array(study.splits),
    }
    return xr.Dataset(values, places, attrs=study.stamp())


def _worth(study: Study) -> dict[str, NDArray[np.float64]]:
    """Energy, where that is the objective, and gains over both ends, ``(batch, rate)`` each."""
    values = {"device_energy_j": study.cost} if study.unit == "J" else {}
    for end in (NO_OFFLOADING, FULL_OFFLOADING):
        if end in study.splits:
            values[f"gain_over_{end.replace(' ', '_')}"] = study.gain(end).to_numpy()
    return values


def save(study: Study, path: str | os.PathLike[str]) -> Path:
    """Write the grid to a file: ``.csv`` and ``.parquet`` as `to_pandas`, ``.nc`` as NetCDF.

    Every file says of which model, machines and scenario it is: a CSV in its last columns, a
    Parquet file in the table's ``attrs``, NetCDF in its attributes. NetCDF is of version 3,
    which needs no library beyond xarray and scipy.

    Returns:
        The path written.

    Raises:
        ValueError: Another ending.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise ValueError(
            f"{path.name!r}: cannot write a study as {kind or 'a file without ending'}; "
            f"choose one of {', '.join(FORMATS)}."
        )
    if kind == ".csv":
        write_csv(study.to_pandas().assign(**study.stamp()), path)
        return path
    with atomically(path) as file:
        if kind == ".nc":
            study.to_xarray().to_netcdf(file, engine="scipy")
        else:
            table = study.to_pandas()
            table.attrs.update(study.stamp())
            table.to_parquet(file, index=False)
    return path
