"""Own models: added, found by name, downloaded from a local server, removed."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import napari_hyperspace as hs
from napari_hyperspace.core.errors import Cancelled, HyperspaceError
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.nets import download, library, locations
from napari_hyperspace.nets.download import Source, download_steps
from napari_hyperspace.nets.library import (
    add_folder,
    add_from_web_steps,
    add_model,
    remove_folder,
    remove_model,
)
from napari_hyperspace.nets.locations import InstalledModel, find_model, installed_models
from napari_hyperspace.nets.model import Model


@pytest.fixture
def model_file(tiny_model: Model, tmp_path: Path) -> Path:
    return hs.save_model(tiny_model, tmp_path / "tiny.safetensors")


@pytest.fixture
def other_file(make_model: Callable[..., Model], tmp_path: Path) -> Path:
    return hs.save_model(make_model(seed=1), tmp_path / "other.safetensors")


def content(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class TestOwnModels:
    def test_an_added_model_is_found_by_its_name(self, model_file, own_models, tiny_model):
        added = add_model(model_file)
        assert added == InstalledModel("tiny", own_models / "tiny.safetensors", "own")
        model_file.unlink()
        assert hs.load_model("tiny").identity == tiny_model.identity
        assert find_model("tiny") == added.path
        assert list(installed_models()) == [*hs.bundled_models(), "tiny"]
        assert remove_model("tiny") == added
        with pytest.raises(HyperspaceError, match="there is no such model"):
            hs.load_model("tiny")

    def test_nothing_but_a_model_is_added(self, own_models, tmp_path, model_file):
        damaged = tmp_path / "damaged.safetensors"
        damaged.write_bytes(model_file.read_bytes()[:-1] + b"\x7f")
        for path in (damaged, tmp_path / "missing.safetensors", tmp_path):
            with pytest.raises(HyperspaceError):
                add_model(path)
        assert content(own_models) == []

    @pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "a\\b", "x" * 101, "a\nb"])
    def test_names_that_are_no_plain_file_names_are_refused(self, model_file, own_models, name):
        if name:  # an empty one means the file's own name
            with pytest.raises(HyperspaceError, match="not a valid name"):
                add_model(model_file, name)
            assert content(own_models) == []

    def test_no_model_is_replaced_or_hidden(self, model_file, other_file, own_models):
        for taken in ("brain", "tiny"):
            if taken == "tiny":
                add_model(model_file)
            with pytest.raises(HyperspaceError, match="another model has this name"):
                add_model(other_file, taken)
        assert add_model(model_file).origin == "own"  # the same file again
        (own_models / "brain.safetensors").write_bytes(other_file.read_bytes())
        assert installed_models()["brain"].origin == "bundled"

    @pytest.mark.parametrize("name", ["brain", "unknown"])
    def test_only_own_models_are_removed(self, name, own_models):
        with pytest.raises(HyperspaceError, match="only models that were added"):
            remove_model(name)
        assert "brain" in installed_models()

    def test_models_of_a_folder_are_found_and_the_folder_is_left_alone(
        self, model_file, other_file, own_models
    ):
        folder = model_file.parent
        found = add_folder(folder)
        assert [one.name for one in found] == ["other", "tiny"]
        assert {one.origin for one in found} == {"folder"}
        assert add_folder(folder) == found
        assert json.loads((own_models / "folders.json").read_text()) == [str(folder.resolve())]
        with pytest.raises(HyperspaceError, match="in a folder that was added"):
            remove_model("tiny")
        remove_folder(folder)
        assert "tiny" not in installed_models() and model_file.exists()
        with pytest.raises(HyperspaceError, match="not a folder that was added"):
            remove_folder(folder)

    @pytest.mark.parametrize("kind", ["missing", "empty", "too long"])
    def test_a_folder_without_models_is_refused(self, tmp_path, own_models, kind):
        folder = tmp_path / ("x" * 300 if kind == "too long" else "folder")
        if kind == "empty":
            folder.mkdir()
        with pytest.raises(HyperspaceError, match="folder"):
            add_folder(folder)
        assert content(own_models) == []

    @pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1, null, {}]", "[" * 5000])
    def test_a_damaged_list_of_folders_is_ignored(self, own_models, text):
        own_models.mkdir(exist_ok=True)
        (own_models / "folders.json").write_text(text)
        assert list(installed_models()) == list(hs.bundled_models())

    def test_the_folder_is_in_the_data_folder_of_the_user(self, monkeypatch, tmp_path):
        monkeypatch.delenv("HYPERSPACE_MODELS")
        monkeypatch.setattr(locations, "user_data_path", lambda name: tmp_path / name)
        assert locations.own_folder() == tmp_path / "napari-hyperspace" / "models"


class Server:
    """A local server of one file, and what it was asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ranges: list[str | None] = []
        self.supports_ranges = True
        self.cut_after: int | None = None  # bytes; then the connection is closed
        self.status = 200
        self.states_length = True
        self.gate: threading.Event | None = None  # waits for it in the middle of the file
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/files/web.safetensors"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def close(self) -> None:
        if self.gate:
            self.gate.set()
        self.http.shutdown()
        self.http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                server.ranges.append(wanted)
                if self.path.startswith("/moved"):
                    self.send_response(302)
                    self.send_header("Location", server.url)
                    self.end_headers()
                    return
                if server.status != 200:
                    self.send_error(server.status)
                    return
                start = 0
                if wanted and server.supports_ranges:
                    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                    if start >= len(server.data):
                        self.send_response(416)
                        self.send_header("Content-Range", f"bytes */{len(server.data)}")
                        self.end_headers()
                        return
                    self.send_response(206)
                else:
                    self.send_response(200)
                if server.states_length:
                    self.send_header("Content-Length", str(len(server.data) - start))
                self.end_headers()
                data = server.data[start:]
                if server.cut_after is not None:
                    data = data[: server.cut_after]
                middle = len(data) // 2
                self.wfile.write(data[:middle])
                self.wfile.flush()
                if server.gate is not None:
                    server.gate.wait(20)
                self.wfile.write(data[middle:])

        return Handler


@pytest.fixture
def server(model_file: Path) -> Iterator[Server]:
    server = Server(model_file.read_bytes())
    yield server
    server.close()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transfer a small file in several pieces."""
    monkeypatch.setattr(download, "_CHUNK_BYTES", 100)


def add(url: str, sha256: str | None, **options: object) -> InstalledModel:
    return run_to_end(add_from_web_steps(Source(url, sha256), **options))


class TestDownload:
    def test_a_model_is_downloaded_and_found_by_its_name(self, server, own_models, tiny_model):
        said = []
        steps = add_from_web_steps(Source(server.url, f"sha256:{server.sha256.upper()}"))
        added = run_to_end(steps, lambda fraction, message: said.append((fraction, message)))
        assert added == InstalledModel("web", own_models / "web.safetensors", "own")
        assert hs.load_model("web").identity == tiny_model.identity
        assert content(own_models) == ["web.safetensors"]
        assert said[-1] == (1.0, "checking the model")
        assert all(0 <= fraction <= 1 for fraction, _ in said)

    def test_it_can_have_another_name(self, server, own_models):
        assert add(server.url, server.sha256, name="mine").name == "mine"

    def test_an_interrupted_download_is_continued(self, server, own_models):
        server.cut_after = 1000
        with pytest.raises(HyperspaceError, match="interrupted") as caught:
            add(server.url, server.sha256)
        assert "continues where it stopped" in str(caught.value)
        server.cut_after = None
        assert add(server.url, server.sha256).name == "web"
        assert server.ranges == [None, "bytes=1000-"]
        assert content(own_models) == ["web.safetensors"]

    def test_without_ranges_it_starts_again(self, server, own_models):
        server.cut_after = 1000
        with pytest.raises(HyperspaceError):
            add(server.url, server.sha256)
        server.cut_after, server.supports_ranges = None, False
        assert add(server.url, server.sha256).name == "web"

    def test_a_file_that_changed_meanwhile_is_downloaded_again(self, server, own_models):
        good = server.data
        server.data = b"\x00" * 5000
        source = Source(server.url, hashlib.sha256(good).hexdigest())
        server.cut_after = 1000
        with pytest.raises(HyperspaceError):
            run_to_end(add_from_web_steps(source))
        server.data, server.cut_after = good, None
        assert run_to_end(add_from_web_steps(source)).name == "web"
        assert server.ranges == [None, "bytes=1000-", None]

    @pytest.mark.parametrize("extra", [0, 10])
    def test_a_partial_file_that_is_complete_or_too_long(self, server, own_models, extra):
        source = Source(server.url, server.sha256)
        own_models.mkdir(exist_ok=True)
        partial = own_models / f".download-{source.key}.part"
        partial.write_bytes(server.data + b"x" * extra)
        assert run_to_end(add_from_web_steps(source)).name == "web"
        assert len(server.ranges) == (1 if extra == 0 else 2)

    def test_another_checksum_is_refused_and_the_file_removed(self, server, own_models):
        with pytest.raises(HyperspaceError, match="does not have the expected checksum"):
            add(server.url, "0" * 64)
        assert content(own_models) == []

    def test_what_is_no_model_is_refused_and_removed(self, server, own_models):
        server.data = b"<html>log in</html>" * 9
        with pytest.raises(HyperspaceError, match="not a valid safetensors file") as caught:
            add(server.url, server.sha256)
        assert caught.value.where == server.url
        assert content(own_models) == []

    @pytest.mark.parametrize("states_length", [True, False])
    def test_a_large_file_is_refused(self, server, own_models, states_length):
        server.states_length = states_length
        steps = download_steps(Source(server.url, server.sha256), own_models, max_bytes=999)
        with pytest.raises(HyperspaceError, match="too large for a model"):
            run_to_end(steps)

    def test_cancelling_keeps_what_was_downloaded(self, server, own_models):
        server.gate = threading.Event()
        wanted = threading.Event()
        source = Source(server.url, server.sha256)
        steps = add_from_web_steps(source, should_stop=wanted.is_set)
        with pytest.raises(Cancelled):
            for step in steps:
                if re.search(r"downloaded [1-9]", step.message):
                    wanted.set()
        (partial,) = own_models.glob(".download-*.part")
        assert 0 < partial.stat().st_size < len(server.data)
        server.gate.set()
        server.gate = None
        assert run_to_end(add_from_web_steps(source)).name == "web"
        assert server.ranges[1].startswith("bytes=")

    def test_two_downloads_of_one_file_do_not_disturb_each_other(self, server, own_models):
        server.gate = threading.Event()
        source = Source(server.url, server.sha256)
        first = download_steps(source, own_models)
        next(first)
        with pytest.raises(HyperspaceError, match="by another process"):
            run_to_end(download_steps(source, own_models))
        server.gate.set()
        assert run_to_end(first).read_bytes() == server.data

    @pytest.mark.parametrize(("status", "found"), [(404, "404"), (503, "503")])
    def test_a_server_that_refuses(self, server, own_models, status, found):
        server.status = status
        with pytest.raises(HyperspaceError, match=f"the server refuses the download.*{found}"):
            add(server.url, server.sha256)

    def test_without_a_network_it_says_so_and_what_to_do(self, server, own_models):
        url, sha256 = server.url, server.sha256
        server.close()
        with pytest.raises(HyperspaceError, match="the server cannot be reached") as caught:
            add(url, sha256)
        assert "hyperspace models add FILE" in str(caught.value)
        assert content(own_models) == []
        server.http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        threading.Thread(target=server.http.serve_forever, daemon=True).start()

    def test_a_checksum_allows_redirections(self, server, own_models):
        moved = server.url.replace("/files/", "/moved/")
        assert add(moved, server.sha256).name == "web"

    def test_an_address_without_encryption_needs_a_checksum(self):
        with pytest.raises(HyperspaceError, match="can be replaced on its way"):
            Source("http://example.org/a.safetensors")
        assert Source("https://example.org/a.safetensors").sha256 is None

    def test_a_redirection_to_one_without_encryption_needs_a_checksum(self, server, own_models):
        source = Source("https://example.org/web.safetensors")
        object.__setattr__(source, "url", server.url)  # as if the server redirected there
        with pytest.raises(HyperspaceError, match="can be replaced on its way"):
            run_to_end(download_steps(source, own_models))
        assert content(own_models) == []

    @pytest.mark.parametrize(
        "url", ["", "brain", "file:///etc/passwd", "ftp://a/b", "https://", "https://[", "C:\\a"]
    )
    def test_other_addresses_are_refused(self, url):
        with pytest.raises(HyperspaceError, match="not an address"):
            Source(url, "0" * 64)

    @pytest.mark.parametrize("digest", ["", "abc", "0" * 63, "g" * 64, "md5:" + "0" * 64])
    def test_other_checksums_are_refused(self, digest):
        with pytest.raises(HyperspaceError, match="not a SHA-256"):
            Source("https://example.org/a.safetensors", digest)

    def test_passwords_and_queries_are_not_shown(self, server):
        source = Source("https://me:secret@example.org/a.safetensors?token=secret", "0" * 64)
        assert source.shown == "https://example.org/a.safetensors"

    def test_a_name_that_is_no_file_name_is_refused_before_the_download(self, server, own_models):
        with pytest.raises(HyperspaceError, match="not a valid name"):
            add(server.url.partition("files")[0], server.sha256)
        assert server.ranges == []


def test_the_public_names_are_those_of_the_package():
    assert hs.bundled_models is locations.bundled_models
    assert library.add_model is add_model
