"""Wrote the .parquet files of this folder, with pyarrow 26.0.1: another implementation than the one that reads
them. Run it again only to change them: python make_parquet.py FOLDER"""

import pathlib
import sys

import pyarrow
import pyarrow.parquet


def main(folder):
    chat = pyarrow.table({
        "id": pyarrow.array([7, 8, 9]),
        "messages": pyarrow.array([
            [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two \"日本\" \n"}],
            [{"role": "assistant", "content": ""}],
            [{"role": "user", "content": None}],
        ]),
    })
    tokens = pyarrow.table({
        "input_ids": pyarrow.array([[1, 2, 3], [4, 5], [6, 7]], pyarrow.list_(pyarrow.int32())),
        "labels": pyarrow.array([[-100, 2, 3], None, [-100, 7]], pyarrow.large_list(pyarrow.int64())),
    })
    text = pyarrow.table({"text": pyarrow.array(["é", "", "a" * 1000], pyarrow.large_string())})
    for name, table, compression in (("chat", chat, "zstd"), ("tokens", tokens, "snappy"), ("text", text, "gzip"),
                                     ("text_lz4", text, "lz4")):
        pyarrow.parquet.write_table(
            table, pathlib.Path(folder, f"{name}.parquet"), compression=compression, row_group_size=2)


if __name__ == "__main__":
    main(sys.argv[1])
