"""Profiles by path, folder and name, and the machines that a workbench offers."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import dscwb
from dscwb.__main__ import main
from dscwb.devices.machines import Library, family
from dscwb.profiles.files import save_profile
from dscwb.profiles.library import as_profile, find_profiles, read_profiles, scale_profile
from dscwb.profiles.records import ProfileError
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
SHIPPED = Path(__file__).parents[1] / "data" / "profiles"


def profile(model="tiny", device="bench clock"):
    return profile_of(tiny_graph(model), {1: [10 * MS, 20 * MS, 30 * MS]}, device=device)


def test_a_profile_is_given_as_itself_its_file_or_a_shipped_name(tmp_path):
    one = profile()
    path = save_profile(one, tmp_path / "x.parquet")
    assert as_profile(one) is one
    for given in (path, str(path)):
        assert as_profile(given).graph == one.graph
    assert as_profile("efficientnet_b0").provenance.threads == 1
    assert as_profile("efficientnet_b0-224-epyc-2t-float32").provenance.threads == 2
    assert as_profile("resnet50").graph.model == dscwb.shipped_profile("resnet50").graph.model


def test_what_is_no_profile_is_refused_with_what_there_is(tmp_path, monkeypatch):
    with pytest.raises(ProfileError, match=r"resnet: no such file, .* efficientnet_b0, .*resnet50"):
        as_profile("resnet")
    with pytest.raises(ProfileError, match=r"resnet: no such file, .* efficientnet_b0, .*resnet50"):
        dscwb.shipped_profile("resnet")
    with pytest.raises(ProfileError, match="is a folder; name one of its files"):
        as_profile(tmp_path)
    with pytest.raises(ProfileError, match="expected, not ModelGraph; give a Profile, the path"):
        as_profile(tiny_graph())  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProfileError, match=r"No my/own in .* nor in a folder above it; make"):
        find_profiles("my/own")


def test_functions_and_commands_take_files_and_names(tmp_path, capsys):
    path = str(save_profile(profile(), tmp_path / "x.parquet"))
    faster = scale_profile(profile(), 10)
    encodings = {"input_encoding": "uint8", "feature_encoding": "float32"}
    study = dscwb.sweep(path, faster, link=dscwb.Link(), data_rates_bps=[1e6], **encodings)
    assert study.edge.graph == faster.graph
    assert dscwb.scale_profile(path, 10).total_s(1) == faster.total_s(1)
    assert dscwb.calibration(path, 1)[0] == 1
    assert dscwb.model_error(path, 1).cuts == 0
    assert dscwb.plot_profile(path, batch_size=1) == dscwb.plot_profile(profile(), batch_size=1)
    options = ["--input-encoding", "uint8", "--feature-encoding", "float32"]
    assert main(["sweep", "resnet50", "--speedup", "20", *options]) == 0
    assert "resnet50" in capsys.readouterr().out


def test_a_folder_is_read_without_what_is_no_profile(tmp_path):
    """The workbench's own export lies there, say, or the rest of a killed process."""
    save_profile(profile(), tmp_path / "good.parquet")
    pd.DataFrame({"batch_size": [1]}).to_parquet(tmp_path / "a-study.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "folder.parquet").mkdir()
    shutil.copy(tmp_path / "torn.parquet", tmp_path / ".dscwb-1.part")
    found, left_out = read_profiles(tmp_path)
    assert list(found) == ["good"]
    assert [text.split(" is left out: ")[0] for text in left_out] == [
        "a-study.parquet",
        "folder.parquet",
        "torn.parquet",
    ]
    assert "not a dscwb profile" in left_out[0]
    bench = dscwb.SplitWorkbench(tmp_path)
    assert bench.state.model == "tiny"
    assert "a-study.parquet is left out: not a dscwb profile" in bench.message


def test_no_profiles_at_all_are_refused(tmp_path):
    torn = tmp_path / "torn.parquet"
    with pytest.raises(ProfileError, match=r"No profiles in .*; make one with"):
        read_profiles(tmp_path)
    torn.write_bytes(b"PAR1 not really")
    with pytest.raises(ProfileError, match=r"No profiles in .*torn.parquet is left out: not a"):
        read_profiles(tmp_path)
    with pytest.raises(ProfileError, match=r"torn.parquet: not a dscwb profile"):
        read_profiles(torn)
    with pytest.raises(ProfileError, match="No profiles in an empty list"):
        read_profiles([])


def test_data_are_found_in_a_folder_above(tmp_path, monkeypatch):
    save_profile(profile(), tmp_path / "data" / "profiles" / "one.parquet")
    inside = tmp_path / "notebooks"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert find_profiles("data/profiles") == tmp_path / "data" / "profiles"
    assert Library("data/profiles").models == ("tiny",)


def test_one_file_one_profile_or_a_list_do(tmp_path):
    path = save_profile(profile(), tmp_path / "x.parquet")
    for source in (path, str(path), profile(), [profile()], iter([path])):
        assert Library(source).models == ("tiny",)
    assert len(Library("resnet50").machines("resnet50")) > 2


def test_models_are_in_natural_order_and_machines_told_apart():
    given = [profile("b10"), profile("b2"), profile("b2", device="other"), profile("b10")]
    here = Library(given)
    assert here.models == ("b2", "b10")
    assert here.machines("b2")[:2] == ("bench clock (measured)", "other (measured)")
    twice = here.machines("b10")[:2]
    assert twice == (
        "bench clock (measured), float32, profile 1",
        "bench clock (measured), float32, profile 4",
    )
    assert here.profile("b10", twice[1]) is given[3]
    assert here.profile("b2", "other (measured)") is given[2]
    with pytest.raises(ValueError, match="No machine 'toaster' for 'b2' here; choose one of bench"):
        here.profile("b2", "toaster")
    with pytest.raises(ValueError, match="No profile 'b3' here; choose one of b2, b10"):
        here.profile("b3")


def test_devices_of_the_catalogue_are_modelled_and_say_so():
    here = Library(profile())
    t4 = here.profile("tiny", "T4 (modelled)")
    assert (t4.provenance.origin, t4.provenance.device) == ("modelled", "T4")
    assert t4.batch_sizes == tuple(range(1, 63))
    assert here.profile("tiny", "T4 (modelled)") is t4


def test_families_hold_their_models_smallest_first():
    graph = tiny_graph("net_b")
    larger = replace(graph, layers=tuple(replace(x, flops=9000) for x in graph.layers))
    large = replace(profile("net_b"), graph=larger)
    assert Library([large, profile("net_s"), profile("other50")]).families() == {
        "net": (("s", "net_s"), ("b", "net_b")),
        "other": (("50", "other50"),),
    }


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("efficientnet_b0", "efficientnet"),
        ("tf_efficientnetv2_b0", "tf_efficientnetv2"),
        ("mobilenetv3_large_100", "mobilenetv3"),
        ("resnet50", "resnet"),
        ("vit_small_patch16_224", "vit"),
        ("inception_v3", "inception"),
        ("MyNet", "MyNet"),
        ("9", "9"),
    ],
)
def test_a_family_is_what_stands_before_the_size(model, name):
    assert family(model) == name
