"""What every player must do, wherever it stands: come to rest, and change its picture under the keyboard."""

import stage

PICTURE = "player => [...player.querySelectorAll('canvas')].map(canvas => canvas.toDataURL())"
BLANK = """player => [...player.querySelectorAll('canvas')].filter(c => c.width && c.height).every(canvas => {
  const copy = document.createElement('canvas');
  copy.width = canvas.width; copy.height = canvas.height;
  const ink = copy.getContext('2d');
  ink.drawImage(canvas, 0, 0);
  const pixels = new Uint32Array(ink.getImageData(0, 0, copy.width, copy.height).data.buffer);
  return pixels.every(pixel => pixel === pixels[0]);
})"""
NAME = """slider => slider.getAttribute('aria-label')
  || [...(slider.labels || [])].map(label => label.innerText).join(' ')
  || document.getElementById(slider.getAttribute('aria-labelledby'))?.innerText || ''"""
# The least contrast of any text in the player with what lies behind it (WCAG's ratio).
CONTRAST = """player => {
  const parse = css => { const n = css.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour[3] > 0.5) return colour;
    }
    return [255, 255, 255, 1];
  };
  let least = 21, where = '';
  for (const node of player.querySelectorAll('*')) {
    const own = [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || ['SCRIPT', 'STYLE'].includes(node.tagName)) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least) [least, where] = [ratio, node.innerText];
  }
  return [least, where];
}"""


def at_rest(page, player, tries: int = 40) -> list[str]:
    """The picture, once it has stopped changing by itself: touching the slider must stop what plays."""
    before = player.evaluate(PICTURE)
    for _ in range(tries):
        page.wait_for_timeout(250)
        after = player.evaluate(PICTURE)
        if after == before:
            return after
        before = after
    raise AssertionError("the player goes on playing after its slider was moved")


def visible(player) -> bytes:
    """What the player's picture looks like on the screen, as a PNG."""
    player.scroll_into_view_if_needed()
    return player.locator("canvas").first.screenshot()


def slider_of(player):
    return player.locator("input[type=range]").first


def turn(page, player) -> list[str]:
    """Move the slider with the keyboard alone; the picture must follow. Returns the picture of the slider's start."""
    slider = slider_of(player)
    player.scroll_into_view_if_needed()
    assert slider.evaluate(NAME).strip(), "the slider has no label"
    slider.focus()
    page.keyboard.press("ArrowRight")  # Home alone, on a slider at its start, would be no change
    page.keyboard.press("Home")
    start = at_rest(page, player)
    assert start, "the player has no canvas"
    first = slider.input_value()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    moved = at_rest(page, player)
    assert slider.input_value() != first, "the arrow keys do not move the slider"
    assert moved != start, "the slider moves and the picture does not"
    return start


def move_and_compare(page, player) -> None:
    """Turn the player; the picture must follow, come back, and be there at the end."""
    start = turn(page, player)
    page.keyboard.press("Home")
    assert at_rest(page, player) == start, "the picture does not come back with the slider"
    page.keyboard.press("End")
    at_rest(page, player)
    assert not player.evaluate(BLANK), "the last picture is blank"


def ask_the_kernel(page, player, seconds: int = 20) -> None:
    """Where a player has a model behind it, its button brings another drawing."""
    another = player.get_by_role("button", name="draw another")
    if not another.count():
        return
    before = at_rest(page, player)
    another.click()
    for _ in range(4 * seconds):
        page.wait_for_timeout(250)
        if player.evaluate(PICTURE) != before:
            return
    raise AssertionError(f"the kernel brought no other drawing within {seconds} s")


# --- what every widget must do; its own test has to show the rest ---

THEMES = "player => [getComputedStyle(player).backgroundColor, getComputedStyle(player).color]"
NAMELESS = """player => [...player.querySelectorAll('button, input, select, [role=img]')]
  .filter(one => one.checkVisibility() && !(one.getAttribute('aria-label') || one.innerText
    || [...(one.labels || [])].map(label => label.innerText).join('')).trim())
  .map(one => one.outerHTML)"""


def is_like_the_others(visit, folder, widget) -> None:
    """A widget's static copy and its live layer: mounted once, labelled, described, moved by keys even in a notebook,
    legible and itself on a light and a dark page and on a small screen, asking for nothing, and gone when closed."""
    colours = set()
    for scheme in ("light", "dark"):
        tab = stage.static(visit, folder, widget, scheme, before=stage.NOTEBOOK)
        page, player = tab.page, tab.page.locator(".oneshot-player")
        assert player.count() == 1 and page.locator(".oneshot-still").count() == 0, "it does not take the still's place"
        assert player.get_attribute("class") == f"oneshot oneshot-player {widget.look}", "look differs in .py and .js"
        name = player.get_attribute("aria-label")
        assert name and name == (widget.label or name), "its label is not its name"
        said = player.evaluate("""player => [player, ...player.querySelectorAll('*')]
          .flatMap(one => [one.getAttribute('aria-label'), one.getAttribute('aria-description')])""")
        assert widget.description in said, "the alternative text is nowhere"
        nameless = player.evaluate(NAMELESS)
        assert nameless == [], f"{nameless} has no name"
        move_and_compare(page, player)
        contrast, text = player.evaluate(CONTRAST)
        assert contrast >= 4.5, f"{text!r} has a contrast of {contrast:.1f} in {scheme} mode"
        colours.add(tuple(player.evaluate(THEMES)))
        assert page.get_by_role("button", name="draw another").count() == 0, "there is nobody to ask"
        page.set_viewport_size({"width": 340, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 340, "it does not fit a small screen"
        page.evaluate(f"document.documentElement.dataset.theme = {'dark' if scheme == 'light' else 'light'!r}")
        colours.add(tuple(player.evaluate(THEMES)))
        assert (tab.attempts, tab.complaints) == ([], []), (tab.attempts, tab.complaints)
    assert len(colours) == 2, "it does not follow the page's theme"

    tab = stage.live(visit, folder, widget)
    assert tab.page.locator(".oneshot-player").get_attribute("class") == f"oneshot oneshot-player {widget.look}"
    tab.page.evaluate("tell('label', 'Another <b>label</b>')")
    assert tab.page.get_by_role("group", name="Another <b>label</b>").locator("[data-part=label]").is_visible()
    assert tab.page.evaluate("listeners()") > 2, "it hears of its label and description alone"
    tab.page.evaluate("close()")
    assert tab.page.evaluate("listeners()") == 0, "closed, it still listens"
    assert tab.complaints == []
