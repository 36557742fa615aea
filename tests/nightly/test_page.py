"""The page of a night in a real browser: the matrix, and the way from a block of it to its results."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.report import make_night, write_made
from tests.report.test_page import after, browse, in_a_browser, shown


@in_a_browser
def test_a_block_of_the_matrix_leads_to_its_results(tmp_path: Path) -> None:
    night = make_night(tmp_path / "1", seed=3, results=150)
    write_made(tmp_path / "1", night, before=None)
    page = tmp_path / "1" / "index.html"
    block = re.search(r'data-part="(windows-11\+igb\+free\+all)" data-module="([a-z_/]+)"', page.read_text())

    whole = browse(page, "")
    assert len(re.findall(r'<tr class="refused">', whole)) == 1
    assert whole.count('scope="row"') == 17 * 4  # guest, nic, driver, verifier: what differs, and no more
    assert len(shown(whole)) == 160
    click = f"""document.querySelector('a[data-part="{block[1]}"][data-module="{block[2]}"]').click();"""
    found = after(page, click)
    assert len(shown(found)) == 1
    assert f"of {block[2]} in {block[1]}" in found


@in_a_browser
def test_of_many_results_those_that_passed_are_out_of_the_way(tmp_path: Path) -> None:
    night = make_night(tmp_path / "1", seed=1, results=320)
    write_made(tmp_path / "1", night, before=None)

    seen = browse(tmp_path / "1" / "index.html", "")

    assert 'data-outcome="PASS" aria-pressed="false"' in seen
    assert 0 < len(shown(seen)) < 40
    assert f"{len(shown(seen))} of 320 shown" in seen
