"""Which labels of a page are cut, and which cover each other, by the boxes in which the browser has drawn them."""

from playwright.sync_api import Page

_PROBLEMS = """() => {
  const problems = [];
  const clipped = (box, frame) => box.left < frame.left - 1 || box.right > frame.right + 1;
  const outside = (box, frame) => box.bottom <= frame.top + 1 || box.top >= frame.bottom - 1;
  const clips = (style) => style.overflowX !== "visible" || style.overflowY !== "visible";
  const texts = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const parent = node.parentElement, text = node.textContent.trim();
    if (!text || !parent.checkVisibility() || parent.closest("title, .skip, option, script, noscript")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) if (box.width > 0 && box.height > 0) texts.push({ text, box, parent });
  }
  const shown = texts.filter(({ text, box, parent }) => {
    if (box.right > innerWidth + 1 || box.left < -1) problems.push(`outside the window: ${text}`);
    for (let each = parent; each && each !== document.body; each = each.parentElement) {
      const style = getComputedStyle(each), frame = each.getBoundingClientRect();
      if (!clips(style)) continue;
      if (outside(box, frame)) return false; // scrolled away
      if (clipped(box, frame)) problems.push(`cut: ${text}`);
    }
    return true;
  });
  for (const each of document.querySelectorAll("main *, header *")) {
    const shortens = getComputedStyle(each).textOverflow === "ellipsis" && each.scrollWidth > each.clientWidth;
    if (shortens && each.checkVisibility()) problems.push(`cut: ${each.textContent}`);
  }
  shown.forEach((one, at) => shown.slice(at + 1).forEach((other) => {
    if (one.parent === other.parent && one.text === other.text) return;
    const width = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
    const height = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
    if (width > 1 && height > 2.5) problems.push(`overlap: ${one.text} | ${other.text}`);
  }));
  for (const drawing of document.querySelectorAll("svg:not(svg svg)")) {
    if (!drawing.checkVisibility()) continue;
    const frame = drawing.getBoundingClientRect();
    for (const text of drawing.querySelectorAll("text")) {
      const owner = text.ownerSVGElement.closest(".seg")?.querySelector(".body")?.getBoundingClientRect() ?? frame;
      if (clipped(text.getBoundingClientRect(), owner)) problems.push(`cut in a drawing: ${text.textContent}`);
    }
  }
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) problems.push("the page scrolls sideways");
  return problems;
}"""


def label_problems(tab: Page) -> list[str]:
    """Return every label that is cut, outside the window or covered by another one, and a page that is too wide."""
    return list(tab.evaluate(_PROBLEMS))
