from outctl.storage.benchmarks import earlier_seconds, read_benchmark

HEADER = "s\th:m:s\tmax_rss\n"


def test_a_benchmark_says_what_its_job_took(tmp_path):
    file = tmp_path / "a.tsv"
    file.write_text(HEADER + "812.67\t0:13:32\t3455.57\n")
    assert read_benchmark(file)["s"] == 812.67
    assert earlier_seconds(file) == 812.67


def test_a_job_without_one_takes_as_long_as_those_beside_it(tmp_path):
    for name, seconds in {"a": 1, "b": 100, "c": 3}.items():
        (tmp_path / f"{name}.tsv").write_text(f"{HEADER}{seconds}\t-\t-\n")
    assert earlier_seconds(tmp_path / "d.tsv") == 3.0


def test_broken_files_are_as_good_as_none(tmp_path):
    for name, content in {
        "a": b"",
        "b": HEADER.encode(),
        "c": b"\xff\xff",
        "d": b"x\ty\n1\t2\n",
        "e": b"s\n-\n",
    }.items():
        (tmp_path / f"{name}.tsv").write_bytes(content)
        assert "s" not in read_benchmark(tmp_path / f"{name}.tsv")
    assert earlier_seconds(tmp_path / "none" / "a.tsv") is None
    assert earlier_seconds(tmp_path / "a.tsv") is None
