"""Causal graphs: who acts on whom among named attributes, read from DOT, GML or TOML.

    a -> b    a acts on b directly
    a <-> b   a and b share a cause that nobody measured: a confounded pair
    order     of the nodes such that causes come before their effects

DOT, the part of it that is read: one ``digraph name { ... }`` (or DAGitty's ``dag``) of nodes, chains ``a -> b -> c``,
groups ``a -> {b c}``, confounded pairs (``a <-> b``, or ``a -> b [dir=both]``), quoted names and comments. Other
attributes say how it looks and are ignored. GML: a directed graph whose nodes have labels; ``dir "both"`` of an edge
makes it a confounded pair. TOML: ``edges = ["shape -> size_px", "a <-> b"]`` and, for nodes without edges, ``nodes``.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pentimento.errors import CausalError, NotFoundError, suggest

if TYPE_CHECKING:
    import networkx

__all__ = ["CausalGraph", "Form", "parse_graph", "read_graph"]

Form = Literal["dot", "gml", "toml"]
Edge = tuple[str, str]
_FORMS: dict[str, Form] = {".dot": "dot", ".gv": "dot", ".gml": "gml", ".toml": "toml"}
_READ = "nodes, chains 'a -> b -> c', groups 'a -> {b c}' and pairs 'a <-> b' within 'digraph { ... }' are read"


@dataclass(frozen=True)
class CausalGraph:
    """A directed graph without cycles, and the pairs whose common cause is not in it.

    Args:
        nodes: names, each once.
        edges: (cause, effect), each once.
        confounded: pairs with a common cause that nobody measured, each once.

    Raises:
        CausalError: no nodes, a name or an edge twice, an edge from a node to itself or to one that is not there, or a
            cycle, which is drawn.

    >>> graph = CausalGraph(("a", "b", "c"), (("a", "b"), ("b", "c")))
    >>> graph.order, graph.ancestors("c"), graph.children("a")
    (('a', 'b', 'c'), ('a', 'b'), ('b',))
    """

    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]
    confounded: tuple[Edge, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no causal graph."""
        import networkx

        if not self.nodes:
            raise CausalError("graph: at least one node expected, got none")
        _refuse_twice("node", self.nodes)
        _refuse_twice("edge", [" -> ".join(edge) for edge in self.edges])
        _refuse_twice("confounded pair", [" <-> ".join(sorted(pair)) for pair in self.confounded])
        for arrow, pairs in ((" -> ", self.edges), (" <-> ", self.confounded)):
            for pair in pairs:
                if pair[0] == pair[1]:
                    raise CausalError(f"graph: {arrow.join(pair)} joins a node to itself; take that edge out")
                for name in pair:
                    self._known(name)
        directed = networkx.DiGraph(self.edges)
        if not networkx.is_directed_acyclic_graph(directed):
            cycle = [cause for cause, _ in networkx.find_cycle(directed)]
            drawn = " -> ".join([*cycle, cycle[0]])
            raise CausalError(f"graph: a cycle, {drawn}; no cause may follow from its own effect, take one edge out")

    def _known(self, name: str) -> None:
        if name not in self.nodes:
            raise CausalError(f"graph: no node {name!r}; {suggest(name, self.nodes)}")

    def _sorted(self, names: Iterable[str]) -> tuple[str, ...]:
        found = set(names)
        return tuple(node for node in self.nodes if node in found)

    def parents(self, node: str) -> tuple[str, ...]:
        """Direct causes of `node`, as all of these in the order of `nodes`.

        Raises:
            CausalError: an unknown node; so do all of these.
        """
        self._known(node)
        return self._sorted(cause for cause, effect in self.edges if effect == node)

    def children(self, node: str) -> tuple[str, ...]:
        """Direct effects of `node`."""
        self._known(node)
        return self._sorted(effect for cause, effect in self.edges if cause == node)

    def ancestors(self, node: str) -> tuple[str, ...]:
        """All that acts on `node`, directly or not; not the node itself."""
        return self._reached(node, self.parents)

    def descendants(self, node: str) -> tuple[str, ...]:
        """All that `node` acts on, directly or not; not the node itself."""
        return self._reached(node, self.children)

    def _reached(self, node: str, step: Any) -> tuple[str, ...]:
        found: set[str] = set()
        front = set(step(node))
        while front:
            found |= front
            front = {further for name in front for further in step(name)} - found
        return self._sorted(found)

    @property
    def order(self) -> tuple[str, ...]:
        """All nodes, causes before their effects, else as in `nodes`."""
        placed: list[str] = []
        while len(placed) < len(self.nodes):
            placed += [next(n for n in self.nodes if n not in placed and set(self.parents(n)) <= set(placed))]
        return tuple(placed)

    def to_networkx(self) -> networkx.DiGraph:
        """The graph for networkx and DoWhy; each node says whether it is ``observed``.

        A confounded pair becomes a node of its own, ``unobserved_0`` and so on, that acts on both.
        """
        import networkx

        graph = networkx.DiGraph()
        graph.add_nodes_from(self.nodes, observed=True)
        graph.add_edges_from(self.edges)
        prefix = "unobserved"
        while any(node.startswith(prefix) for node in self.nodes):
            prefix = "_" + prefix
        for number, pair in enumerate(self.confounded):
            graph.add_node(f"{prefix}_{number}", observed=False)
            graph.add_edges_from((f"{prefix}_{number}", name) for name in pair)
        return graph

    def to_dot(self) -> str:
        """The graph as DOT, which `parse_graph` reads back."""
        lines = [f"  {_quoted(node)};" for node in self.nodes]
        lines += [f"  {_quoted(cause)} -> {_quoted(effect)};" for cause, effect in self.edges]
        lines += [f"  {_quoted(a)} -> {_quoted(b)} [dir=both, style=dashed];" for a, b in self.confounded]
        return "\n".join(["digraph {", *lines, "}", ""])


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise CausalError(f"graph: {what} {twice[0]} is there {names.count(twice[0])} times; once is enough")


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


# ----------------------------------------------------------------------------------------------- reading
def read_graph(path: Path) -> CausalGraph:
    """The graph in a ``.dot``, ``.gv``, ``.gml`` or ``.toml`` file.

    Raises:
        NotFoundError: no such file.
        CausalError: another suffix, a file that is not text, and as `parse_graph`.
    """
    form = _FORMS.get(path.suffix.lower())
    if form is None:
        raise CausalError(f"graph: {', '.join(_FORMS)} expected, got {path.name!r}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise NotFoundError(f"graph: no file {path}") from error
    except UnicodeDecodeError as error:
        raise CausalError(f"graph: {path.name} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise CausalError(f"graph: {path} cannot be read: {error.strerror or error}") from error
    return parse_graph(text, form)


def parse_graph(text: str, form: Form) -> CausalGraph:
    """The graph that `text` describes, see the module. Nodes come in the order in which they are first named.

    Raises:
        CausalError: text that is not of that form, an undirected graph, and as `CausalGraph`.

    >>> parse_graph("digraph { shape -> {hue size_px}; hue <-> y }", "dot").edges
    (('shape', 'hue'), ('shape', 'size_px'))
    """
    nodes, edges, confounded = {"dot": _from_dot, "gml": _from_gml, "toml": _from_toml}[form](text)
    named = [*nodes, *(name for pair in (*edges, *confounded) for name in pair)]
    return CausalGraph(tuple(dict.fromkeys(named)), tuple(edges), tuple(confounded))


Parts = tuple[list[str], list[Edge], list[Edge]]


def _from_toml(text: str) -> Parts:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CausalError(f"graph: not TOML: {error}") from error
    unknown = [key for key in table if key not in ("edges", "nodes")]
    if unknown:
        raise CausalError(f"graph: unknown key {unknown[0]!r}; {suggest(unknown[0], ('edges', 'nodes'))}")
    for key, value in table.items():
        if not isinstance(value, list) or any(not isinstance(item, str) for item in value):
            raise CausalError(f'graph: {key}: a list of texts expected, e.g. edges = ["shape -> size_px"]')
    edges: list[Edge] = []
    confounded: list[Edge] = []
    for line in table.get("edges", []):
        names = [part.strip() for part in re.split(r"<->|->", line)]
        arrows = re.findall(r"<->|->", line)
        if len(names) < 2 or not all(names) or any(set("<>") & set(name) for name in names):
            raise CausalError(f"graph: edges: 'a -> b' or 'a <-> b' expected, got {line!r}")
        for a, arrow, b in zip(names[:-1], arrows, names[1:], strict=True):
            (edges if arrow == "->" else confounded).append((a, b))
    return list(table.get("nodes", [])), edges, confounded


def _from_gml(text: str) -> Parts:
    import networkx

    try:
        graph = networkx.parse_gml(text)
    except (networkx.NetworkXError, ValueError, TypeError, KeyError) as error:
        raise CausalError(f"graph: GML that cannot be read: {str(error).splitlines()[0]}") from error
    if not graph.is_directed():
        raise CausalError("graph: an undirected graph says of no edge which end is the cause; put 'directed 1' in it")
    edges: list[Edge] = []
    confounded: list[Edge] = []
    for a, b, attributes in graph.edges(data=True):
        direction = str(attributes.get("dir", "forward"))
        _into(direction, edges, confounded).append((str(a), str(b)))
    return [str(node) for node in graph.nodes], edges, confounded


def _into(direction: str, edges: list[Edge], confounded: list[Edge]) -> list[Edge]:
    """The list that an edge with this attribute ``dir`` belongs to."""
    if direction not in ("forward", "both"):
        raise CausalError(f"graph: dir={direction} is not read, only forward and both; write the cause first")
    return edges if direction == "forward" else confounded


# --------------------------------------------------------------------------------------------------- DOT
_BLANK = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/|#[^\n]*)+", re.DOTALL)
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(<->|->|--|[{}\[\];,=])|(-?(?:\.\d+|\d+(?:\.\d*)?)|[^\W\d]\w*)', re.DOTALL)


@dataclass(frozen=True)
class _Token:
    text: str
    mark: bool  # an arrow, a bracket, a separator


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while at < len(text):
        blank = _BLANK.match(text, at)
        if blank:
            at = blank.end()
            continue
        token = _TOKEN.match(text, at)
        if token is None:
            line = text.count("\n", 0, at) + 1
            raise CausalError(f"graph: DOT, line {line}: {text[at : at + 20].splitlines()[0]!r} is not read; {_READ}")
        quoted, mark, word = token.groups()
        name = re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) if quoted is not None else mark or word
        found.append(_Token(name, mark is not None))
        at = token.end()
    return found


class _Dot:
    """A reader of one DOT graph, statement by statement."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.nodes: list[str] = []
        self.edges: list[Edge] = []
        self.confounded: list[Edge] = []

    def read(self) -> Parts:
        if self._word().lower() == "strict":
            self.at += 1
        kind = self._next().lower()
        if kind == "graph":
            raise CausalError("graph: an undirected graph says of no edge which end is the cause; write 'digraph'")
        if kind not in ("digraph", "dag"):
            raise self._unread(kind)
        if self._word():
            self._next()  # its name
        self._take("{")
        while self._mark() != "}":
            self._statement()
        self._take("}")
        if self.at != len(self.tokens):
            raise self._unread(self.tokens[self.at].text)
        return self.nodes, self.edges, self.confounded

    def _mark(self) -> str:
        """The mark that comes next; empty before a name and at the end."""
        ahead = self.tokens[self.at : self.at + 1]
        return ahead[0].text if ahead and ahead[0].mark else ""

    def _word(self) -> str:
        """The name that comes next; empty before a mark and at the end."""
        ahead = self.tokens[self.at : self.at + 1]
        return ahead[0].text if ahead and not ahead[0].mark else ""

    def _next(self) -> str:
        self.at += 1
        if self.at > len(self.tokens):
            raise CausalError(f"graph: DOT that ends too early; {_READ}")
        return self.tokens[self.at - 1].text

    def _take(self, mark: str) -> None:
        found = self._next()
        if found != mark:
            raise self._unread(found)

    def _unread(self, found: str) -> CausalError:
        return CausalError(f"graph: DOT, {found!r} is not read there; {_READ}")

    def _statement(self) -> None:
        if self._mark() == ";":
            self.at += 1
            return
        defaults = self._word().lower() in ("node", "edge", "graph")
        if defaults and self.tokens[self.at + 1 : self.at + 2] == [_Token("[", True)]:
            self.at += 1
            self._attributes()
            return
        chain, arrows = [self._group()], []
        if self._mark() == "=":  # an attribute of the graph
            self.at += 2
            return
        self.nodes += chain[0]
        while self._mark() in ("->", "<->", "--"):
            arrows.append(self._next())
            chain.append(self._group())
            self.nodes += chain[-1]
        if "--" in arrows:
            raise CausalError("graph: 'a -- b' says not which is the cause; write 'a -> b' or 'a <-> b'")
        direction = self._attributes()
        for causes, arrow, effects in zip(chain[:-1], arrows, chain[1:], strict=True):
            place = _into("both" if arrow == "<->" else direction, self.edges, self.confounded)
            place += [(a, b) for a in causes for b in effects]

    def _group(self) -> list[str]:
        """The names of one node or of a group ``{b c}``."""
        if self._mark() != "{":
            return [self._name()]
        names = []
        self._take("{")
        while self._mark() != "}":
            if self._mark() in (";", ","):
                self.at += 1
            else:
                names.append(self._name())
        self._take("}")
        return names

    def _name(self) -> str:
        if self._mark() or self._word().lower() == "subgraph":
            raise self._unread(self.tokens[self.at].text)
        return self._next()

    def _attributes(self) -> str:
        """Skip the lists of attributes that follow; what ``dir`` says."""
        direction = "forward"
        while self._mark() == "[":
            inside = []
            while self._next() != "]":
                inside.append(self.tokens[self.at - 1].text)
            for key, equal, value in zip(inside, inside[1:], inside[2:], strict=False):
                if (key, equal) == ("dir", "="):
                    direction = value
        return direction


def _from_dot(text: str) -> Parts:
    return _Dot(text).read()
