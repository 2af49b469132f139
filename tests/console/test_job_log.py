from snakemake_logger_plugin_outctl.job_log import LAST_LINES, TAIL, last_lines, progress


def test_the_last_word_on_progress_counts(tmp_path):
    log = tmp_path / "log"
    log.write_text("8 of 50 samples\nloading 3 of 4 parts now\n16 of 50 samples\n{'loss': 1}\n")
    assert progress(log) == (16, 50, "samples")


def test_a_log_without_progress_or_none_at_all_says_nothing(tmp_path):
    assert progress(tmp_path / "none") is None
    assert last_lines(tmp_path / "none") == []
    (tmp_path / "log").write_text("Loading\n")
    assert progress(tmp_path / "log") is None


def test_last_lines_leave_out_progress_and_what_moves_the_cursor(tmp_path):
    log = tmp_path / "log"
    log.write_text("first\n\n10%\r50%\r\x1b[32mwhole\x1b[0m\n3 of 4 steps\na\tb\nError: é\n")
    assert last_lines(log) == ["first", "whole", "a       b", "Error: é"]


def test_only_the_end_of_a_long_log_is_read(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert last_lines(log) == [f"line {number}" for number in range(10_000 - LAST_LINES, 10_000)]
    log.write_text("x" * (2 * TAIL))
    assert last_lines(log) == ["x" * TAIL]
    log.write_bytes(b"\xff\xfe not text \xff")
    assert len(last_lines(log)) == 1
