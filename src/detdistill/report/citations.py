"""Numbered citations, in the order in which the report first uses them."""

from detdistill.report.literature import Literature


class Citations:
    """Hands out a number for each paper when it is first cited."""

    def __init__(self, literature: Literature) -> None:
        self._literature = literature
        self._keys: list[str] = []

    def mark(self, method: str) -> str:
        """` [3]`, with the space before it; nothing for a method that has no paper in the literature."""
        paper = self._literature.paper(method)
        if paper is None:
            return ""
        if paper.key not in self._keys:
            self._keys.append(paper.key)
        return f"\u00a0[{self._keys.index(paper.key) + 1}]"

    def entries(self) -> list[str]:
        """The cited papers, one line each, by number."""
        return [self._entry(key) for key in self._keys]

    def _entry(self, key: str) -> str:
        paper = self._literature.references[key]
        where = [paper.venue, f"arXiv {paper.arxiv}" if paper.arxiv else None]
        return f"{paper.authors.rstrip('.')}. {paper.title}. {', '.join(part for part in where if part)}."
