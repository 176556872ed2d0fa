"""The report in a real browser: what a reader sees, sorts, finds and enlarges, and that nothing leaves the page."""

from __future__ import annotations

import base64
import json
import time

import pytest

from ssar.reporting.html import write_report
from tests.browser import tree

pytest.importorskip("selenium")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Reports as file URLs: filled at a smaller scale, filled at the papers' own, and with nothing run."""
    made = {}
    for name, note in (("demo", "Not comparable: a test."), ("paper", None), ("empty", None)):
        folder = tmp_path_factory.mktemp(name)
        targets = tree.targets(folder, note=note)
        if name != "empty":
            tree.fill(targets)
        write_report(targets, folder / "report.html")
        made[name] = (folder / "report.html").as_uri()
    return made


@pytest.fixture
def browse(chromium, pages):
    """Opens a report; afterwards the console must be empty and nothing but the page itself have been asked for."""

    def go(name: str, size: str = "desktop", scheme: str = "light", anchor: str = ""):
        width, height = SIZES[size]
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        chromium.get("about:blank")
        chromium.get(pages[name] + anchor)
        return chromium

    chromium.get_log("browser"), chromium.get_log("performance")
    yield go
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    urls = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert urls & set(pages.values())  # else requests would not be seen
    outside = {url for url in urls if not url.startswith(("data:", "blob:", "about:"))} - set(pages.values())
    assert not outside


def wait(driver, script: str, *arguments):
    """The script's value as soon as it is true."""
    until = time.monotonic() + 120
    while not (found := driver.execute_script(f"return {script}", *arguments)):
        assert time.monotonic() < until, script
        time.sleep(0.02)
    return found


def column(driver, table: str, place: int) -> list[str]:
    """What the cells of a column sort by."""
    script = """
        return [...document.querySelectorAll(arguments[0] + " tbody tr")].map((row) => row.cells[arguments[1]])
            .map((cell) => cell.dataset.sort ?? cell.textContent.trim());
    """
    return driver.execute_script(script, table, place)


def traces(driver, panel: str, what: str) -> list:
    """A property of each line of a chart."""
    script = (
        "return document.querySelector(`[data-panel=${arguments[0]}] .chart`).data.map((line) => line[arguments[1]])"
    )
    return driver.execute_script(script, panel, what)


def draw(driver) -> None:
    """Go to the curves and wait until the charts are there."""
    driver.execute_script("document.getElementById('curves').scrollIntoView()")
    wait(driver, "document.getElementById('curves').dataset.drawn !== undefined")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "scheme"), [("demo", "light"), ("demo", "dark"), ("paper", "light"), ("empty", "light")]
)
def test_it_fits_the_screen(browse, name, size, scheme, shots):
    driver = browse(name, size, scheme)
    if name != "empty":
        draw(driver)
    for place in ("overview", "paper-ltg", "ltg-claims", "curves", "runs"):
        driver.execute_script("document.getElementById(arguments[0]).scrollIntoView()", place)
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        if shots:
            png = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
            (shots / f"{name}-{size}-{scheme}-{place}.png").write_bytes(base64.b64decode(png))


def test_what_is_not_there_is_not_run_and_never_0(browse):
    driver = browse("empty")
    cells = driver.find_elements(By.CSS_SELECTOR, "#ltg-table1 td.number .measured")
    assert {cell.text for cell in cells} == {"not run"}
    assert not driver.find_elements(By.CSS_SELECTOR, ".difference")
    assert {cell.text for cell in driver.find_elements(By.CSS_SELECTOR, "#ltg-claims ~ .block td .verdict")} == {
        "not run"
    }
    assert "not run" in driver.find_element(By.ID, "ltg-figure3").text
    assert "not run" in driver.find_element(By.ID, "curves").text
    assert set(column(driver, ".runs", 1)) == {"not run"}


def test_text_from_outside_stays_text(browse):
    driver = browse("demo")
    assert driver.execute_script("return window.broken === undefined")
    assert tree.EVIL in driver.find_element(By.CSS_SELECTOR, ".facts").text
    driver.find_element(By.CSS_SELECTOR, "tr[data-status='done'] a").click()
    text = wait(driver, "document.getElementById('sheet').open && document.getElementById('sheet-body').textContent")
    assert tree.EVIL.split("/")[0] in text
    assert driver.execute_script(
        "return window.broken === undefined && !document.querySelector('#sheet b b, #sheet script')"
    )


def test_a_column_sorts_by_number_text_and_back(browse):
    driver = browse("demo")
    original = column(driver, "#ltg-table1", 2)
    button = driver.find_elements(By.CSS_SELECTOR, "#ltg-table1 thead button")[2]
    head = button.find_element(By.XPATH, "..")
    for state, reverse in (("descending", True), ("ascending", False)):
        button.send_keys(Keys.ENTER)
        assert head.get_attribute("aria-sort") == state
        assert column(driver, "#ltg-table1", 2) == sorted(original, key=float, reverse=reverse)
    button.click()
    assert head.get_attribute("aria-sort") == "none"
    assert column(driver, "#ltg-table1", 2) == original != sorted(original, key=float)

    method = driver.find_elements(By.CSS_SELECTOR, ".runs thead button")[2]
    for reverse in (False, True):
        method.click()
        names = column(driver, ".runs", 2)
        assert names == sorted(names, reverse=reverse)
        assert len(set(names)) > 1


def test_missing_values_come_last_in_both_directions(browse):
    driver = browse("demo")
    top1 = next(b for b in driver.find_elements(By.CSS_SELECTOR, ".runs thead button") if b.text == "Top-1")
    place = int(top1.get_attribute("data-column"))
    for _ in range(2):
        top1.click()
        values = column(driver, ".runs", place)
        there = [value for value in values if value]
        assert 0 < len(there) < len(values)
        assert values[: len(there)] == there


def test_search_and_selects_show_the_rows_that_match(browse):
    driver = browse("demo")
    visible = "[...document.querySelectorAll('.runs tbody tr')].filter((row) => row.offsetParent).map((row) => row.id)"
    everything = driver.execute_script(f"return {visible}")
    search = driver.find_element(By.ID, "search")
    search.send_keys("s1 FIXMATCH")
    found = driver.execute_script(f"return {visible}")
    assert found == [row for row in everything if "fixmatch" in row and ".s1." in row] != []
    assert driver.find_element(By.ID, "found").text.endswith("found")
    assert not driver.find_element(By.ID, "ltg-figure3").is_displayed()
    search.clear()
    search.send_keys("temporal gradients")
    assert driver.find_element(By.ID, "ltg-figure3").is_displayed()
    search.send_keys(Keys.CONTROL, "a", Keys.DELETE)
    driver.execute_script("""
        const select = document.querySelector("select[data-filter='status']");
        select.value = "done";
        select.dispatchEvent(new Event("change", { bubbles: true }));
    """)
    done = driver.execute_script(f"return {visible}")
    rows = driver.execute_script(
        "return [...document.querySelectorAll(\"tr[data-status='done']\")].map((row) => row.id)"
    )
    assert done == rows
    assert len(done) < len(everything)
    # a link to a row that is filtered out shows it
    hidden = next(row for row in everything if row not in done)
    driver.execute_script("location.hash = arguments[0]", hidden)
    wait(driver, "document.getElementById(arguments[0]).offsetParent", hidden)


def test_a_cell_leads_to_its_seeds_and_a_run_to_its_settings(browse):
    driver = browse("demo")
    driver.find_element(By.CSS_SELECTOR, "#ltg-table1 [data-cell]").send_keys(Keys.ENTER)
    assert driver.find_element(By.ID, "sheet").is_displayed()
    rows = driver.find_elements(By.CSS_SELECTOR, "#sheet tbody tr")
    assert [row.text.split()[-1] for row in rows] == ["20", "21"]
    run = rows[1].find_element(By.TAG_NAME, "a").text
    rows[1].find_element(By.TAG_NAME, "a").click()
    wait(driver, "document.getElementById('sheet-title').textContent === arguments[0]", run)
    details = wait(driver, "document.querySelector('#sheet pre') && document.getElementById('sheet-body').textContent")
    for text in (
        "labels: {draw: 1",
        "seconds: 3601.0",
        "top1: 21.0",
        "h:m:s",
        "ltg: fixmatch-rgb in ucf101.videossl-20",
    ):
        assert text in details
    assert driver.execute_script("return location.hash") == f"#run-{run}"
    driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not driver.find_element(By.ID, "sheet").is_displayed()


def test_a_figure_opens_in_full_and_closes_by_keyboard(browse):
    driver = browse("demo")
    picture = driver.find_element(By.CSS_SELECTOR, "[data-zoom]")
    assert picture.find_element(By.TAG_NAME, "img").get_attribute("alt")
    picture.send_keys(Keys.ENTER)
    assert driver.find_element(By.ID, "zoom").is_displayed()
    assert wait(driver, "document.querySelector('#zoom img').naturalWidth") == 1400
    size = driver.find_element(By.ID, "zoom-size")
    size.send_keys(Keys.SPACE)
    assert size.get_attribute("aria-pressed") == "true"
    assert driver.find_element(By.CSS_SELECTOR, "#zoom img").size["width"] == 1400
    size.send_keys(Keys.ESCAPE)
    assert not driver.find_element(By.ID, "zoom").is_displayed()
    assert driver.switch_to.active_element == picture


def test_differences_are_coloured_only_where_they_mean_something(browse):
    colour = "getComputedStyle(document.querySelector('.difference')).backgroundColor"
    nothing = "rgba(0, 0, 0, 0)"
    driver = browse("demo")
    assert driver.find_element(By.CSS_SELECTOR, "#overview .warning").is_displayed()
    assert driver.execute_script(f"return {colour}") == nothing
    driver.find_element(By.ID, "colour").click()
    assert driver.execute_script(f"return {colour}") != nothing
    driver = browse("paper")
    assert not driver.find_elements(By.CSS_SELECTOR, ".warning, .reminder")
    assert driver.execute_script(f"return {colour}") != nothing
    assert driver.find_element(By.CSS_SELECTOR, "#ltg-table1 .difference").text == "−33.6"  # 20.5 of 54.1


def test_dark_mode_turns_page_and_charts(browse):
    seen = {}
    for scheme in ("light", "dark"):
        driver = browse("demo", scheme=scheme)
        draw(driver)
        body = "getComputedStyle(document.body).backgroundColor"
        chart = "getComputedStyle(document.querySelector('.chart .main-svg')).backgroundColor"
        seen[scheme] = driver.execute_script(f"return [{body}, {chart}]")
        assert seen[scheme][0] == seen[scheme][1]
    assert seen["light"] != seen["dark"]


def test_charts_show_what_is_chosen(browse):
    driver = browse("demo")
    assert driver.execute_script("return typeof Plotly") == "undefined"  # not before somebody comes near
    draw(driver)
    assert set(traces(driver, "loss", "name")) == {"loss", "labelled_rgb"}
    assert set(traces(driver, "pseudo", "name")) == {"pseudo_rate", "pseudo_accuracy"}
    script = """
        const picker = document.getElementById("variant");
        picker.value = [...picker.options].find((option) => option.text.startsWith("ltg in")).value;
        picker.dispatchEvent(new Event("change"));
    """
    driver.execute_script(script)
    wait(driver, "document.getElementById('curves').dataset.drawn.includes(' ')")
    names = traces(driver, "loss", "name")
    assert len(set(names)) == 2
    assert len(names) == 4  # two seeds of two variants, the loss alone
    assert {len(steps) for steps in traces(driver, "loss", "x")} == {30, 150}  # 30 lines, and 450 in threes
    assert "thinned" in driver.find_element(By.ID, "curves").text
    for chip in range(2):
        driver.find_element(By.CSS_SELECTOR, "#chosen button").click()
        wait(driver, "document.querySelectorAll('#chosen button').length === arguments[0]", 1 - chip)
    wait(driver, "document.querySelector('[data-panel=loss] .chart').textContent === 'no variant chosen'")


def test_it_prints_without_what_only_a_screen_can_use(browse):
    driver = browse("demo")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not driver.find_element(By.CSS_SELECTOR, ".bar").is_displayed()
        assert not driver.find_element(By.ID, "curves").is_displayed()
        assert driver.find_element(By.ID, "ltg-table1").is_displayed()
        assert base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {})["data"])[:4] == b"%PDF"
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
