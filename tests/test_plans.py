"""Plans as people write them, and the two commands."""

import pytest

import dscwb
from dscwb.scaling.plans import Job, read_plan, write_plan
from tests.command import refused


@pytest.fixture
def models(tmp_path):
    path = tmp_path / "models.txt"
    path.write_text("# small ones\nmobilenetv3_small_100\n\nefficientnet_b1  # larger\n")
    return path


def test_a_plan_has_a_line_for_each_model_and_board(run, models, tmp_path):
    path = tmp_path / "plan.csv"
    options = ("--batch-sizes", "1:3", "--threads", 2, "--options", "--dtype bfloat16")
    status, out, _ = run("plan", models, "--devices", "orin,pi5", *options, "-o", path)
    assert (status, out) == (0, ["4 jobs: 2 models on 2 boards", f"saved {path}"])
    jobs = read_plan(path)
    assert jobs[3] == Job(
        board="pi5",
        model="efficientnet_b1",
        batch_sizes=(1, 2, 3),
        image_size=240,
        threads=2,
        options="--dtype bfloat16",
        file="efficientnet_b1-240-pi5-2t-bfloat16.parquet",
    )
    sizes = ["--batch-sizes", "1,2,3", "--image-size", "240", "--threads", "2"]
    assert jobs[3].words() == ["efficientnet_b1", *sizes, "--dtype", "bfloat16"]
    assert jobs[0].file == "mobilenetv3_small_100-224-orin-2t-bfloat16.parquet"
    write_plan(jobs, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == path.read_text()


def test_what_an_editor_leaves_out_has_its_default(tmp_path):
    path = tmp_path / "plan.csv"
    path.write_text("\ufeffmodel,board,file,threads\nresnet50,pi5,x.parquet,\n", "utf-8")
    assert read_plan(path) == [Job("pi5", "resnet50", file="x.parquet")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has the columns of no table; a plan has board, model, batch_sizes"),
        ("a,b\n1,2\n", "has the columns a, b; a plan has board, model"),
        ("board,model,file\n", "The plan has no jobs"),
        ("board,model,file\na,m,x.parquet\na,n,x.parquet\n", "file is 'x.parquet' for two jobs"),
        ("board,model,file\na,m,../x.parquet\n", "line 2: file is '../x.parquet'; give a name"),
        ("board,model,file\na,m,x.csv\n", "line 2: file is 'x.csv'; give a name that ends in"),
        ("board,model,file\na b,m,x.parquet\n", "line 2: board is 'a b'; give letters"),
        ("board,model,file,threads\na,m,x.parquet,two\n", "line 2: invalid literal"),
        ("board,model,file\na,m,x.parquet,7,8\n", "line 2: it has more values than columns"),
    ],
)
def test_a_plan_that_cannot_be_used_is_refused_by_line(run, tmp_path, text, words):
    path = tmp_path / "plan.csv"
    path.write_text(text)
    scheduler = ("--scheduler", "tcp://127.0.0.1:1")
    assert words in refused(run("measure", path, *scheduler, "-o", tmp_path / "out"))


def test_mistakes_are_one_line(run, models, tmp_path):
    path = tmp_path / "plan.csv"
    given = ("plan", models, "--devices", "pi5", "-o", path)
    assert "options is '--fast', which `dscwb profile` does not know" in refused(
        run(*given, "--options=--fast")
    )
    assert "--passes is '0'" in refused(run(*given, "--options", "--passes 0"))
    assert "--devices is ','" in refused(run(*given[:3], ",", *given[4:]))
    models.write_text("efficientnet_bb\n")
    assert "timm has no model 'efficientnet_bb'; nearest names: " in refused(run(*given))
    models.write_text("# none\n")
    assert "The plan has no jobs" in refused(run(*given))
    assert not path.exists()
    write_plan([Job("pi5", "resnet50", file="x.parquet", options="--fast")], path)
    measure = ("measure", path, "-o", tmp_path / "out", "--scheduler")
    assert "options is '--fast', which `dscwb profile` does not know" in refused(
        run(*measure, "tcp://127.0.0.1:1")
    )
    assert "--scheduler is 'here'; give tcp://HOST:PORT" in refused(run(*measure, "here"))


def test_the_python_door_takes_jobs_too():
    with pytest.raises(ValueError, match="The plan has no jobs"):
        dscwb.measured([], None, "out")
