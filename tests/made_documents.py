"""Small PDFs and Office documents, made on the spot."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import docx
import openpyxl
import pptx
import pypdf


def pdf(*pages: str) -> bytes:
    """One line of text on each page."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for text in pages:
        stream = f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET".encode()
        objects.append(b"<< /Length %d >>\nstream\n" % len(stream) + stream + b"\nendstream")
        font = b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
        objects.append(b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources " % len(objects) + font + b" >>")
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [" % len(kids) + b" ".join(kids) + b"] >>"
    raw, places = b"%PDF-1.7\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(raw))
        raw += b"%d 0 obj\n" % number + one + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % at for at in places)
    return (raw + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table
            + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(raw)))  # fmt: skip


def word(text: str = "Refunds take fourteen days.") -> bytes:
    made = docx.Document()
    made.add_heading("Refunds")
    made.add_paragraph(text)
    table = made.add_table(rows=2, cols=2)
    for row, names in zip(table.rows, (("country", "days"), ("Norway", "21")), strict=True):
        for cell, name in zip(row.cells, names, strict=True):
            cell.text = name
    made.add_paragraph("Ask the shop.")
    return saved(made)


def saved(made: Any) -> bytes:
    into = io.BytesIO()
    made.save(into)
    return into.getvalue()


def slides(text: str = "Parcels leave at noon.") -> bytes:
    made = pptx.Presentation()
    slide = made.slides.add_slide(made.slide_layouts[1])
    slide.shapes.title.text = "Shipping"  # type: ignore[union-attr]
    slide.placeholders[1].text = text  # type: ignore[attr-defined]
    slide.notes_slide.notes_text_frame.text = "Say it slowly."  # type: ignore[union-attr]
    return saved(made)


def sheet(text: str = "stamp") -> bytes:
    made = openpyxl.Workbook()
    made.active.title = "Prices"  # type: ignore[union-attr]
    for row in (("what", "price"), (text, 1.5), (None, None)):
        made.active.append(row)  # type: ignore[union-attr]
    return saved(made)


def locked() -> bytes:
    """A PDF with a password."""
    made, into = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("x"))), io.BytesIO()
    made.encrypt("secret", algorithm="AES-256")
    made.write(into)
    return into.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(name, content)
    return into.getvalue()
