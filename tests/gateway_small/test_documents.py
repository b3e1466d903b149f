"""Text of PDF and Office documents, taken out by a process of its own: what they say, and that hostile ones hurt nobody."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import docx
import pypdf
import pytest
from made_documents import locked, pdf, saved, sheet, slides, word, zipped
from pypdf.annotations import FreeText

from gateway.config.serving import VectorStores
from gateway.retrieval import documents
from gateway.retrieval.documents import document_kind, document_text
from gateway.retrieval.reading import NotRead

BOUNDS = VectorStores()


def with_more(raw: bytes, name: str, content: bytes) -> bytes:
    into = io.BytesIO(raw)
    with zipfile.ZipFile(into, "a", zipfile.ZIP_DEFLATED) as made:
        made.writestr(name, content)
    return into.getvalue()


def replaced(raw: bytes, name: str, content: bytes) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as before, zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as made:
        for one in before.namelist():
            made.writestr(one, content if one == name else before.read(one))
    return into.getvalue()


async def text_of(tmp: Path, raw: bytes, bounds: VectorStores = BOUNDS) -> str:
    path = tmp / "file"
    path.write_bytes(raw)
    return await document_text(path, document_kind(path), bounds)


async def refused(tmp: Path, raw: bytes, bounds: VectorStores = BOUNDS) -> tuple[str, str]:
    with pytest.raises(NotRead) as caught:
        await text_of(tmp, raw, bounds)
    return caught.value.code, str(caught.value)


async def test_what_documents_say(tmp_path: Path) -> None:
    assert (await text_of(tmp_path, pdf("Refunds take days", "Ask the shop"))).split("\n\n") == ["Refunds take days", "Ask the shop", ""]
    assert await text_of(tmp_path, word()) == (
        "Refunds\nRefunds take fourteen days.\ncountry\tdays\nNorway\t21\nAsk the shop.\n"
    )
    assert await text_of(tmp_path, slides()) == "Slide 1\nShipping\nParcels leave at noon.\nSay it slowly.\n\n"
    assert await text_of(tmp_path, sheet()) == "Prices\nwhat\tprice\nstamp\t1.5\n\n"


async def test_what_stands_beside_the_text_of_a_document_is_said_after_it(tmp_path: Path) -> None:
    """Headers, footnotes, comments, controls, insertions, text boxes: others read them too."""
    made = docx.Document()
    made.add_paragraph("a\tb")
    made.sections[0].header.paragraphs[0].text = "in the header"
    said, box = '<w:r><w:t>%s</w:t></w:r>', '<w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent>'
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    for xml in (
        f"<w:sdt {space}><w:sdtContent><w:p>{said % 'in a control'}</w:p></w:sdtContent></w:sdt>",
        f"<w:p {space}><w:ins w:id='1'>{said % 'an insertion'}</w:ins><w:r><w:drawing>{box}</w:drawing></w:r></w:p>",
    ):
        made.element.body.insert(0, docx.oxml.parse_xml(xml))
    text = await text_of(tmp_path, saved(made))
    assert text.strip().split("\n") == ["a\tb", "an insertion", "in a box", "in a control", "in the header"]
    notes = f"<w:footnotes {space}><w:footnote><w:p>{said % 'a footnote'}</w:p></w:footnote></w:footnotes>".encode()
    assert (await text_of(tmp_path, with_more(word(), "word/footnotes.xml", notes))).endswith("Ask the shop.\na footnote\n")
    comments = b'<comments xmlns="x"><comment><text><t>a comment</t></text></comment></comments>'
    assert (await text_of(tmp_path, with_more(sheet(), "xl/comments1.xml", comments))).endswith("\na comment\n")
    diagram = b'<d xmlns:a="x"><a:p><a:r><a:t>a dia</a:t></a:r><a:r><a:t>gram</a:t></a:r></a:p></d>'
    assert (await text_of(tmp_path, with_more(slides(), "ppt/diagrams/data1.xml", diagram))).endswith("\na diagram\n")


async def test_what_notes_and_fields_of_a_pdf_say(tmp_path: Path) -> None:
    made, into = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("Refunds"))), io.BytesIO()
    made.add_annotation(0, FreeText(text="a note", rect=(50, 50, 200, 100)))
    made.write(into)
    assert (await text_of(tmp_path, into.getvalue())).endswith("a note\n")


async def test_what_cannot_be_read_is_told_to_its_owner(tmp_path: Path) -> None:
    for raw, code, words in (
        (locked(), "invalid_file", "password"),
        (pdf("x")[:200], "invalid_file", "damaged"),
        (pdf(""), "invalid_file", "pictures of text"),
        (zipped("a.txt", b"x"), "unsupported_file", "Upload its text"),
        (word()[:-100], "invalid_file", "damaged"),
    ):
        found = await refused(tmp_path, raw)
        assert found[0] == code and words in found[1], found


async def test_what_is_too_much_is_not_read(tmp_path: Path) -> None:
    bomb = zipped("word/document.xml", b"\0" * 40_000_000)
    few_pages, few_signs = VectorStores(pages=1), VectorStores(file_bytes=1024)
    for raw, bounds in ((bomb, BOUNDS), (pdf("a", "b"), few_pages), (word("long " * 1000), few_signs)):
        code, message = await refused(tmp_path, raw, bounds)
        assert code == "invalid_file" and "more than" in message


async def test_entities_are_neither_multiplied_nor_fetched(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("nobody's business")
    laughs = b"".join(b'<!ENTITY a%d "%s">' % (at, b"&a%d;" % (at - 1) * 10) for at in range(1, 10))
    for entities in (b'<!ENTITY a0 "ha">' + laughs, b'<!ENTITY a9 SYSTEM "file://%s">' % os.fsencode(secret)):
        xml = (b'<?xml version="1.0"?><!DOCTYPE w:document [' + entities + b"]>"
               b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r>'
               b"<w:t>a &a9; b</w:t></w:r></w:p></w:body></w:document>")  # fmt: skip
        try:
            text = await text_of(tmp_path, replaced(word(), "word/document.xml", xml))
        except NotRead:
            continue
        assert "business" not in text and len(text) < 100


async def test_memory_and_time_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
    many = b"".join(b"<w:p><w:r><w:t>%d</w:t></w:r></w:p>" % at for at in range(350_000))
    heavy = replaced(word(), "word/document.xml", head + many + b"</w:body></w:document>")
    code, _ = await refused(tmp_path, heavy, VectorStores(read_mb=128))
    assert code == "invalid_file"
    endless = tmp_path / "endless.py"
    endless.write_text("import resource, signal\nresource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass\n")
    monkeypatch.setattr(documents, "_PROGRAM", endless)
    assert "longer" in (await refused(tmp_path, word()))[1]
    endless.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(documents, "_LONGER_S", -3.9)  # a tenth of a second in all
    assert "longer" in (await refused(tmp_path, word(), VectorStores(read_s=1)))[1]


async def test_without_the_extra_it_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "find_spec", lambda name: None)
    for raw in (pdf("x"), word()):
        code, message = await refused(tmp_path, raw)
        assert code == "unsupported_file" and "pip install 'understudy[documents]'" in message


async def test_the_process_knows_nothing_of_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "sk-1")
    curious = tmp_path / "curious.py"
    curious.write_text("import os, sys\nprint(sorted(os.environ), 'gateway' in sys.modules, os.getcwd())\n")
    monkeypatch.setattr(documents, "_PROGRAM", curious)
    said = await text_of(tmp_path, word())
    assert "SECRET" not in said and "HOME" not in said and said.endswith("False /\n")
