"""Writes the demo's documents: the six novels of Jane Austen out of Debian's r-cran-janeaustenr.

Called by demo.py; works alone too:

    .deps/python/bin/python tools/demo/novels.py .demo/data

Five novels become books.jsonl, one {"text"} line each. The sixth is held out; its first characters, cut
at the end of a paragraph, become held-out.jsonl. About 4 MB, a million tokens, in documents of hundreds
of pages: what long-context training needs, and short enough for two cores.

The package keeps them in an R lazy-load pair, which needs no R: Rdata.rdx is a gzipped R object that maps
a name to (offset, length) in Rdata.rdb; an entry there is its inflated size in 4 bytes, then either a
zlib stream, or a type byte ('Z' xz, '2' bzip2) and that stream.
"""

import argparse
import bz2
import gzip
import json
import lzma
import pathlib
import struct
import warnings
import zlib

PACKAGE_DATA = pathlib.Path("/usr/lib/R/site-library/janeaustenr/data")
TRAINING = ("sensesensibility", "prideprejudice", "mansfieldpark", "emma", "northangerabbey")
HELD_OUT = "persuasion"  # the one a web-trained model has met least
HELD_OUT_CHARACTERS = 36_000  # about 8,000 tokens: two rows of the demo, evaluated in half a minute on two cores


def parse_r_object(serialized: bytes):
    import rdata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it guesses the file type; the guess is right
        return rdata.conversion.convert(rdata.parser.parse_data(serialized))


def inflate_entry(entry: bytes) -> bytes:
    (size,) = struct.unpack(">I", entry[:4])
    if entry[4:5] == b"Z":
        content = lzma.decompress(entry[5:])
    elif entry[4:5] == b"2":
        content = bz2.decompress(entry[5:])
    else:
        content = zlib.decompress(entry[4:])
    if len(content) != size:
        raise ValueError(f"an entry announces {size} bytes and holds {len(content)}")
    return content


def read_lines(folder: pathlib.Path) -> dict[str, list[str]]:
    """Every novel as the package has it: lines of about 70 characters."""
    index_path = folder / "Rdata.rdx"
    if not index_path.is_file():
        raise FileNotFoundError(f"{index_path} is missing; install Debian's r-cran-janeaustenr (./dev setup does)")
    index = parse_r_object(gzip.decompress(index_path.read_bytes()))["variables"]
    content = (folder / "Rdata.rdb").read_bytes()
    novels = {}
    for name, (offset, length) in index.items():
        lines = parse_r_object(inflate_entry(content[offset : offset + length]))
        novels[str(name)] = [str(line) for line in lines]
    return novels


def unwrap(lines: list[str]) -> str:
    """Joins the lines of a paragraph; paragraphs are separated by an empty line, as models know them."""
    paragraphs = "\n".join(line.rstrip() for line in lines).split("\n\n")
    joined = (" ".join(paragraph.split()) for paragraph in paragraphs)
    return "\n\n".join(paragraph for paragraph in joined if paragraph)


def cut_at_paragraph(text: str, characters: int) -> str:
    end = text.rfind("\n\n", 0, characters)
    return text[: end if end > 0 else characters]


def write_jsonl(path: pathlib.Path, texts: list[str]) -> None:
    scratch = path.with_suffix(".partial")
    scratch.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))
    scratch.replace(path)


def write_novels(folder: pathlib.Path, source: pathlib.Path = PACKAGE_DATA) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes both files anew (it takes seconds) and returns their paths: training, validation."""
    novels = {name: unwrap(lines) for name, lines in read_lines(source).items()}
    folder.mkdir(parents=True, exist_ok=True)
    training, validation = folder / "books.jsonl", folder / "held-out.jsonl"
    write_jsonl(training, [novels[name] for name in TRAINING])
    write_jsonl(validation, [cut_at_paragraph(novels[HELD_OUT], HELD_OUT_CHARACTERS)])
    return training, validation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=pathlib.Path, help="directory to write")
    for path in write_novels(parser.parse_args().target):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
