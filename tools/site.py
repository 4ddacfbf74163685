"""A hook of MkDocs: what pages link to outside docs/ (manifests, code, licences) becomes pages of the site.

On GitHub such a link opens the file. On the site it opens a page, below `repository/`, that shows the file, or all
files of the folder. So the site needs nothing that lies elsewhere, and a strict build finds links that lead nowhere.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_FOLDER = "repository"
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".lua": "lua", ".md": "markdown", ".sh": "bash"}


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each file and folder of the repository that a page links to."""
    root = Path(config["docs_dir"]).parent
    links = ((page, link) for page in files.documentation_pages() for link, _ in _LINK.findall(page.content_string))
    outside = {_outside(page.src_uri, link) for page, link in links}
    for target in sorted(filter(None, outside)):
        files.append(File.generated(config, _page(target), content=_shown(root, target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Change links out of docs/ to the pages made for them."""
    source = page.file.src_uri

    def led(match: re.Match[str]) -> str:
        target = _outside(source, match[1])
        return f"]({posixpath.relpath(_page(target), posixpath.dirname(source) or '.')})" if target else match[0]

    return markdown if source.startswith(f"{_FOLDER}/") else _LINK.sub(led, markdown)


def _outside(source: str, target: str) -> str | None:
    """Return the path in the repository of a link's target, or None for one in docs/."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), target))
    return None if path.startswith("docs/") else path


def _page(target: str) -> str:
    return f"{_FOLDER}/{target}.md"


def _shown(root: Path, target: str) -> str:
    """Return the page of a file, or of a folder with its own files; raises PluginError where there is neither."""
    place = root / target
    if not place.exists():
        raise PluginError(f"a page links to {target}, which is not in the repository")
    files = [place] if place.is_file() else sorted(file for file in place.iterdir() if file.is_file())
    folders = sorted(f"`{each.name}/`" for each in place.iterdir() if each.is_dir()) if place.is_dir() else []
    parts = [f"# {target}", *([f"Folders in it: {', '.join(folders)}"] if folders else [])]
    for file in files:
        language = _LANGUAGES.get(file.suffix, "text")
        parts.append(f'`````{language} title="{file.relative_to(root)}"\n{file.read_text()}`````')
    return "\n\n".join(parts) + "\n"
