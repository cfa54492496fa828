"""Tests of the language that CONTRIBUTING.md describes: docstrings, phrases, names, spelling."""

import ast
import io
import itertools
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUFFIXES = (".py", ".pyi", ".html", ".js", ".css", ".md", ".yml", ".toml")

# A first line that opens with one of these describes around its object instead of naming it.
OPENINGS = {
    "All", "And", "Are", "As", "By", "For", "From", "How", "If", "In", "Is", "It", "Like", "Many", "Of", "On", "So", "Some",
    "That", "This", "To", "What", "When", "Where", "Whether", "Who", "Why", "With",
}  # fmt: skip
VERB = re.compile(r"[A-Z][a-z-]*s\b")

# Phrases that readers had to translate, with what to write in their place.
PHRASES = {
    r"(go|goes|going|gone|went) on\b(?! to)": "resume, continue",
    r"ways? back": "inverse, synthesis",
    r"told": "conditioned on, distinguished",
    r"where there (is|are|was|were)": "if",
    r"that (is|are) none": "not a ...",
    r"so many": "the number of ...",
    r"made (up )?of": "consists of, is built from",
    r"(is|are) no \w+ at all": "got X, expected Y",
    r"hears": "takes as input",
    r"ceilings?\b(?!\()": "upper bound",
    r"(comes?|came|given|gives?|gave) back": "is reconstructed, returns",
    r"(comes?|came) to": "amounts to, the result of",
    r"bears?": "tolerates",
    r"stands? (in|at|on|beside|before|under|between|behind)": "is in, contains",
    r"(files?|folders?|notes|sounds|runs?) (lie|lies)": "is in, contains",
    r"no such thing": "name what is missing",
    r"(in|of) the house": "in the library",
    r"by itself": "automatically",
    r"(networks?|models?|decoders?|encoders?|discriminators?|adversary) (hears?|sees?|says?|finds?|knows?|is told|guesses)": (
        "predicts, encodes, takes as input"
    ),
}
BRITISH = re.compile(
    r"\b\w*(neighbour|analys(e[dr]?|ing)\b|synthesis(e[dr]?|ing)\b|colour|centre|labelled|labelling|licence|normalis|quantis"
    r"|optimis[ae]|initialis|standardis|randomis|minimis[ei]|learnt|towards|grey|favour|behaviour|modelled|modelling|generalis"
    r"|summaris|artefact|judgement|recognis|organis[aei]|synchronis|cancelling|travelled|programme\b|catalogue|maximis|specialis"
    r"|serialis|utilis|visualis|regularis)\w*",
    re.IGNORECASE,
)
NAMES = {
    "asked", "books", "came_later", "draws", "found", "given", "gone", "heard", "lacking", "look_after", "made",
    "may_be_zero", "settle", "tell", "told", "took", "wanted", "way_back",
}  # fmt: skip


def tracked_files() -> list[Path]:
    """Returns the text files under version control, without this one."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name.endswith(SUFFIXES)]
    return [path for path in paths if path.name != Path(__file__).name and path.exists()]


def attribute_docstrings(tree: ast.AST):
    """Yields (line, text) for every string that follows an assignment and documents it."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for before, after in itertools.pairwise(body if isinstance(body, list) else []):
            documents = isinstance(before, (ast.Assign, ast.AnnAssign)) and isinstance(after, ast.Expr)
            if documents and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
                yield after.lineno, after.value.value


def docstring_problems(tree: ast.AST):
    """Yields (line, problem) for the first line of every docstring."""
    for line, text in attribute_docstrings(tree):
        if re.split(r"[\s,:;(]", text.strip())[0] in OPENINGS:
            yield line, f"opens with neither a verb nor a noun: {text.strip()}"
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        text = ast.get_docstring(node, clean=False)
        if text is None:
            continue
        line, first = getattr(node, "lineno", 1), text.split("\n")[0].strip()
        if not 0 < len(first) <= 88:
            yield line, f"first line of {len(first)} characters (expected 1 to 88): {first}"
        if not first.endswith((".", ":", "?")):
            yield line, f"first line is not a sentence: {first}"
        if re.split(r"[\s,:;(]", first)[0] in OPENINGS:
            yield line, f"opens with neither a verb nor a noun: {first}"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            decorators = {ast.unparse(decorator).split("(")[0].split(".")[-1] for decorator in node.decorator_list}
            if not decorators & {"property", "cached_property"} and not VERB.match(first):
                yield line, f"does not open with a verb (Returns, Maps ...): {first}"


def name_problems(tree: ast.AST):
    """Yields (line, problem) for every name that says nothing of what it holds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            name = node.name
        elif isinstance(node, ast.arg):
            name = node.arg
        else:
            continue
        if name in NAMES:
            yield node.lineno, f"name {name!r} does not say what it holds"


def text_problems(line: int, text: str):
    """Yields (line, problem) for the phrases and the spelling of some lines that begin at `line`."""
    for number, row in enumerate(text.split("\n"), line):
        for pattern, instead in PHRASES.items():
            if match := re.search(rf"\b{pattern}\b", row, re.IGNORECASE):
                yield number, f"{match.group(0)!r}: write {instead}"
        if match := BRITISH.search(row):
            yield number, f"British spelling {match.group(0)!r}"


def problems(path: Path):
    """Yields (line, problem) of a file."""
    source = path.read_text()
    if path.name == "CHANGELOG.md":
        source = re.sub(r"`[^`\n]*`", "``", source)  # It quotes names of earlier versions.
    if path.suffix != ".py":
        yield from text_problems(1, source)
        return
    tree = ast.parse(source)
    yield from docstring_problems(tree)
    yield from name_problems(tree)
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            yield from text_problems(token.start[0], token.string)


def test_the_language_follows_the_style_guide():
    listed = [f"{path.relative_to(ROOT)}:{line}: {problem}" for path in tracked_files() for line, problem in problems(path)]
    assert not listed, "\n".join(listed)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('"""Maps of sounds."""\n', 0),
        ('"""What a map is."""\n', 1),
        ('"""Maps."""\ndef f():\n    """Returns a sum."""\n', 0),
        ('"""Maps."""\ndef f():\n    """The sum."""\n', 1),
        ('"""Maps."""\nmade = 1\n', 1),
        ('"""Maps."""\nflag = True\n"""Whether maps are made."""\n', 1),
        ('"""Maps."""\nflag = True\n"""True if maps are drawn."""\n', 0),
        ('"""Maps."""\nx = 1  # the way back to a sound\n', 1),
        ('"""Maps."""\nx = f"{1} neighbours"\n', 1),
        (f'"""Maps {"x" * 88}."""\n', 1),
    ],
)
def test_each_rule_finds_its_violation(tmp_path, source, count):
    (tmp_path / "module.py").write_text(source)
    assert len(list(problems(tmp_path / "module.py"))) == count
