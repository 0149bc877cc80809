"""Annotation tables with every kind of header, and rows that are none."""

import pytest

from pneumoseg.shared.errors import DataError
from pneumoseg.sources.rle_table import read_rows

ROWS = [("a.1", "-1"), ("b-2", "3 2 5 1")]


def read(tmp_path, content, encoding="utf-8"):
    path = tmp_path / "train.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return read_rows(path)


@pytest.mark.parametrize(
    ("content", "first_line"),
    [
        ("ImageId, EncodedPixels\na.1, -1\nb-2, 3 2 5 1\n", 2),
        ("ImageId,EncodedPixels\na.1,-1\nb-2,3 2 5 1", 2),
        ("\ufeffImageId,EncodedPixels\na.1,-1\nb-2,3 2 5 1\n", 2),
        ("\ufeffa.1, -1\nb-2, 3 2 5 1\n", 1),
        ("a.1,-1\nb-2,3 2 5 1\n", 1),
        ("ImageId,EncodedPixels\r\na.1,-1\r\nb-2,3 2 5 1\r\n", 2),
        ("ImageId,EncodedPixels\ra.1,-1\rb-2,3 2 5 1\r", 2),
        ("  imageid ,ENCODEDPIXELS  \n a.1 , -1 \n b-2 ,  3 2 5 1  \n", 2),
        ('"ImageId"," EncodedPixels"\n"a.1"," -1"\n"b-2"," 3 2 5 1"\n', 2),
        ('ImageId, "EncodedPixels"\na.1, "-1"\nb-2, "3 2 5 1"\n', 2),
        ("n,EncodedPixels,note,ImageId\n0,-1,x,a.1\n1,3 2 5 1,,b-2\n", 2),
        ("ImageId;EncodedPixels\na.1;-1\nb-2;3 2 5 1\n", 2),
        ("ImageId\tEncodedPixels\na.1\t-1\nb-2\t3 2 5 1\n", 2),
        ("ImageId,EncodedPixels,\na.1,-1,\nb-2,3 2 5 1,\n", 2),
    ],
)
def test_every_header(tmp_path, content, first_line):
    table = read(tmp_path, content)
    assert [(row.image_id, row.code) for row in table.rows] == ROWS
    assert [row.line for row in table.rows] == [first_line, first_line + 1]
    assert table.rejected == ()


def test_line_numbers_are_those_of_the_file(tmp_path):
    table = read(tmp_path, "\nImageId,EncodedPixels\n\na,-1\n,,\n  \nb,1 1\n")
    assert [(row.line, row.image_id) for row in table.rows] == [(4, "a"), (7, "b")]
    assert table.rejected == ()


@pytest.mark.parametrize(
    ("row", "image_id", "reason"),
    [
        (",1 2", "", "no ImageId"),
        ("../x,1 2", "", "of 4 characters"),
        (".hidden,1 2", "", "no dot first"),
        ("a b,1 2", "", "not of the form"),
        ("x" * 65 + ",1 2", "", "of 65 characters"),
        ("Müller,1 2", "", "not of the form"),
        ("a", "a", "no EncodedPixels"),
        ("a,", "a", "no EncodedPixels; an image without pneumothorax has -1"),
        ("a,1 2,3 4", "a", "3 cells in a table of 2 columns"),
    ],
)
def test_rows_that_are_none(tmp_path, row, image_id, reason):
    table = read(tmp_path, f"ImageId,EncodedPixels\n{row}\nb,-1\n")
    assert [(item.line, item.image_id) for item in table.rejected] == [(2, image_id)]
    assert reason in table.rejected[0].reason
    assert [(item.line, item.image_id) for item in table.rows] == [(3, "b")]


def test_an_unbalanced_quote_spoils_its_own_row_only(tmp_path):
    table = read(tmp_path, 'ImageId,EncodedPixels\n"a,-1\nb,1 1\nc,-1\n')
    assert [item.line for item in table.rejected] == [2]
    assert [item.image_id for item in table.rows] == ["b", "c"]


def test_a_byte_that_is_no_text_spoils_its_own_row_only(tmp_path):
    table = read(tmp_path, b"ImageId,EncodedPixels\nM\xfcller,-1\nb,1 1\n")
    assert [(item.line, item.image_id) for item in table.rejected] == [(2, "")]
    assert [item.image_id for item in table.rows] == ["b"]


def test_text_that_is_no_id_is_not_repeated(tmp_path):
    table = read(tmp_path, "ImageId,EncodedPixels\nDoe^John,-1\n=cmd(),1 1\n")
    assert all("Doe" not in str(item) and "cmd" not in str(item) for item in table.rejected)


def test_a_code_longer_than_the_csv_modules_limit(tmp_path):
    code = " ".join(["1 1"] * 100_000)
    table = read(tmp_path, f'ImageId,EncodedPixels\na,"{code}"\nb,{code}\n')
    assert [item.code for item in table.rows] == [code, code]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("ImageId,Pixels\na,-1\n", "'ImageId', 'Pixels'"),
        ("EncodedPixels\n-1\n", "'EncodedPixels'"),
        ("ImageId,EncodedPixels,ImageId\na,-1,a\n", "each once"),
        ("id,code,more\na,-1,3\n", "'id', 'code', 'more'"),
        ("some text\n", "'some text'"),
        ("a,-1,x\n", "'a', '-1', 'x'"),
    ],
)
def test_a_table_without_the_columns(tmp_path, content, found):
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert "train.csv" in message
    assert "needs the columns ImageId and EncodedPixels" in message
    assert found in message


def test_no_table(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        read_rows(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(tmp_path)
    with pytest.raises(DataError, match="empty"):
        read(tmp_path, "\n \n")
    with pytest.raises(DataError, match="UTF-8"):
        read(tmp_path, "ImageId,EncodedPixels\na,-1\n", "utf-16")


def test_a_header_alone_is_a_table_without_rows(tmp_path):
    table = read(tmp_path, "ImageId, EncodedPixels\n")
    assert table.rows == ()
    assert table.rejected == ()


@pytest.mark.real
def test_the_real_tables(real):
    for name, rows in (("siim-tables/stage_2_train.csv", 12_954), ("siim-learn/train-rle.csv", 1_169)):
        table = read_rows(real / name)
        assert len(table.rows) == rows
        assert table.rejected == ()
