"""Fetchers, against a local server with small archives of the same layout."""

import functools
import http.server
import io
import shutil
import subprocess
import threading
import zipfile

import numpy as np
import pytest

from milkit.datasets import fetch_musk1, fetch_musk2, fetch_parkinsons_telemonitoring
from milkit.datasets._lzw import decompress_z

pytest.importorskip("pooch", reason="the fetchers need pooch")


def compress_z(data, most_bits=16, clear_at=None):
    """What the Unix program compress writes (LZW in block mode), for these tests."""
    out, state = bytearray(b"\x1f\x9d" + bytes([0x80 | most_bits])), {"bits": 9, "codes": []}

    def flush():
        # Codes are written in groups of eight; an unfinished group is filled up.
        group = 0
        for i, code in enumerate(state["codes"]):
            group |= code << (i * state["bits"])
        full = 8 if len(state["codes"]) else 0
        out.extend(group.to_bytes(full * state["bits"] // 8, "little"))
        state["codes"] = []

    def emit(code):
        state["codes"].append(code)
        if len(state["codes"]) == 8:
            flush()

    table, following, prefix = {bytes([i]): i for i in range(256)}, 257, b""
    for number, value in enumerate(data):
        longer = prefix + bytes([value])
        if longer in table:
            prefix = longer
            continue
        emit(table[prefix])
        widen = following > (1 << state["bits"]) - 1 and state["bits"] < most_bits
        if following < 1 << most_bits:
            table[longer] = following
            following += 1
        if widen:
            flush()
            state["bits"] += 1
        prefix = bytes([value])
        if clear_at is not None and number >= clear_at:
            emit(256)
            flush()
            table, following, clear_at = {bytes([i]): i for i in range(256)}, 257, None
            state["bits"] = 9
            # The reader makes its first entry after the second code that follows.
            following = 257
    if prefix:
        emit(table[prefix])
    # The last group is cut after its last whole byte.
    n_bytes = -(-len(state["codes"]) * state["bits"] // 8)
    before = len(out)
    flush()
    return bytes(out[: before + n_bytes])


def some_bytes(n, seed=0):
    return bytes(np.random.RandomState(seed).randint(97, 123, size=n).astype(np.uint8))


@pytest.mark.parametrize("n", [0, 1, 2, 100, 3000, 150_000])
@pytest.mark.parametrize("most_bits", [9, 12, 16])
def test_z_files_are_read(n, most_bits):
    data = some_bytes(n)
    assert decompress_z(compress_z(data, most_bits)) == data


def test_z_files_with_repeats_and_a_cleared_table_are_read():
    for data in (b"a" * 5000, b"ab" * 3000, bytes(range(256)) * 20):
        assert decompress_z(compress_z(data)) == data
    data = some_bytes(40_000)
    assert decompress_z(compress_z(data, clear_at=25_000)) == data


def test_the_z_files_of_these_tests_are_what_gzip_reads():
    gzip = shutil.which("gzip")
    if gzip is None:
        pytest.skip("gzip is not installed")
    for packed in (
        compress_z(some_bytes(150_000)),
        compress_z(some_bytes(60_000), 12),
        compress_z(some_bytes(40_000), clear_at=25_000),
    ):
        result = subprocess.run([gzip, "-dc"], input=packed, capture_output=True, check=True)
        assert result.stdout == decompress_z(packed)


def test_damaged_z_files_are_refused():
    with pytest.raises(ValueError, match=r"no \.Z file"):
        decompress_z(b"PK\x03\x04")
    with pytest.raises(ValueError, match="9 to 16 bits"):
        decompress_z(b"\x1f\x9d\x88")
    with pytest.raises(ValueError, match="has not made"):
        decompress_z(b"\x1f\x9d\x90" + b"\xff" * 20)


# -- archives ----------------------------------------------------------------------------

MOLECULES = [("MUSK-1", 3, 1), ("MUSK-2", 1, 1), ("NON-MUSK-7", 2, 0), ("NON-MUSK-8", 4, 0)]


def musk_lines(n_features=166, apart=False):
    rng, lines = np.random.RandomState(0), []
    for molecule, n, label in MOLECULES:
        for k in range(n):
            numbers = ",".join(map(str, rng.randint(-300, 300, size=n_features)))
            lines.append(f"{molecule},{molecule[-1]}_1+{k},{numbers},{label}.")
    if apart:
        lines = lines[::2] + lines[1::2]
    return ("\n".join(lines) + "\n").encode()


def parkinsons_table():
    features = [f"measure{j}" for j in range(16)]
    lines = [",".join(["subject#,age,sex,test_time,motor_UPDRS,total_UPDRS", *features])]
    rng, updrs = np.random.RandomState(0), 10.0
    for subject, sex in ((1, 0), (2, 1), (3, 0)):
        for time in (-0.4, 0.3, 0.9, 5.2, 5.8, 12.5):
            updrs += 1
            values = ",".join(f"{value:.4f}" for value in rng.random_sample(16))
            lines.append(f"{subject},{60 + subject},{sex},{time},{updrs - 5},{updrs},{values}")
    return ("\n".join(lines) + "\n").encode()


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    requested = []

    def do_GET(self):
        type(self).requested.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A server of the folder ``archive.folder``, with nothing in it yet."""
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "archive"
    folder.mkdir()
    QuietHandler.requested = []
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        server.folder = folder
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        server.put = functools.partial(put, folder)
        yield server
        server.shutdown()
        thread.join()


def put(folder, number, name, content):
    (folder / str(number)).mkdir(exist_ok=True)
    (folder / str(number) / name).write_bytes(content)


def check_musk(musk):
    X, y = musk.data, musk.target
    assert X.names.tolist() == [name for name, _, _ in MOLECULES]
    assert X.sizes.tolist() == [n for _, n, _ in MOLECULES]
    assert y.tolist() == [label for _, _, label in MOLECULES]
    expected = np.array(
        [line.split(",")[2:-1] for line in musk_lines().decode().splitlines()], dtype=float
    )
    assert np.array_equal(X.flat()[0], expected) and X.dtype == np.float64
    assert X.instance_data["name"][:4].tolist() == ["1_1+0", "1_1+1", "1_1+2", "2_1+0"]
    assert X.feature_names[0] == "f1" and len(musk.feature_names) == 166
    assert musk.target_names.tolist() == ["non-musk", "musk"]
    assert "Molecules: 4 (2 musk). Conformations: 10." in musk.DESCR


@pytest.mark.parametrize(
    "make",
    [
        lambda: zipped(clean1__data=musk_lines()),
        lambda: zipped(clean1__data__Z=compress_z(musk_lines()), clean1__names=b"about"),
        lambda: zipped(inner__zip=zipped(**{"musk/clean1__data": musk_lines()})),
    ],
    ids=["plain", "compressed", "nested"],
)
def test_musk1_from_each_kind_of_archive(archive, tmp_path, make):
    archive.put(74, "musk+version+1.zip", make())
    check_musk(fetch_musk1(data_home=tmp_path / "home", base_url=archive.url))


def test_rows_of_a_molecule_may_lie_apart(tmp_path):
    (tmp_path / "musk+version+1.zip").write_bytes(zipped(clean1__data=musk_lines(apart=True)))
    X, y = fetch_musk1(data_home=tmp_path, return_X_y=True)
    lines = [line.split(",") for line in musk_lines().decode().splitlines()]
    row_of = {fields[1]: np.array(fields[2:-1], dtype=float) for fields in lines}
    assert sorted(X.names) == [name for name, _, _ in MOLECULES]
    names = np.split(X.instance_data["name"], X.offsets[1:-1])
    for molecule, bag, label, own in zip(X.names, X, y, names, strict=True):
        assert label == (not molecule.startswith("NON"))
        assert all(name.startswith(molecule[-1]) for name in own)
        assert np.array_equal(bag, [row_of[name] for name in own])


def test_musk1_and_its_cache(archive, tmp_path):
    archive.put(74, "musk+version+1.zip", zipped(clean1__data__Z=compress_z(musk_lines())))
    home = tmp_path / "home"
    check_musk(fetch_musk1(data_home=home, base_url=archive.url))
    check_musk(fetch_musk1(data_home=home, base_url=archive.url))
    assert len(QuietHandler.requested) == 1, "the second call reads the cache"
    check_musk(fetch_musk1(data_home=str(home), download_if_missing=False))
    X, y = fetch_musk1(data_home=home, return_X_y=True)
    assert len(X) == len(y) == 4


def test_musk2_and_the_folder_of_the_environment(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("MILKIT_DATA_HOME", str(tmp_path / "env"))
    archive.put(75, "musk+version+2.zip", zipped(clean2__data=musk_lines()))
    check_musk(fetch_musk2(base_url=archive.url + "/"))
    assert (tmp_path / "env" / "musk+version+2.zip").exists()


def test_parkinsons_bags_are_days_of_patients(archive, tmp_path):
    archive.put(
        189, "parkinsons+telemonitoring.zip", zipped(parkinsons_updrs__data=parkinsons_table())
    )
    voices = fetch_parkinsons_telemonitoring(data_home=tmp_path, base_url=archive.url)
    X, y = voices.data, voices.target
    assert X.sizes.tolist() == [1, 2, 2, 1] * 3 and X.n_features == 16
    assert X.names[:4].tolist() == ["S01_day-1", "S01_day0", "S01_day5", "S01_day12"]
    assert np.unique(X.groups).tolist() == ["S01", "S02", "S03"]
    assert X.covariates["sex"].tolist() == ["M"] * 4 + ["F"] * 4 + ["M"] * 4
    assert X.covariates["age"].tolist()[::4] == [61, 62, 63]
    assert X.covariates["day"].tolist()[:4] == [-1, 0, 5, 12]
    assert voices.total_updrs[:3].tolist() == [11, 12.5, 14.5]
    np.testing.assert_allclose(voices.total_updrs - voices.motor_updrs, 5)
    assert np.array_equal(y, voices.total_updrs > np.median(voices.total_updrs))


# -- what can go wrong -------------------------------------------------------------------


def test_no_network_says_what_to_do(archive, tmp_path):
    with pytest.raises(OSError, match=r"pass data_home=.*load_bags") as info:
        fetch_musk1(data_home=tmp_path, base_url=archive.url)
    assert "musk+version+1.zip" in str(info.value)
    assert not (tmp_path / "musk+version+1.zip").exists()
    with pytest.raises(OSError, match="Could not download"):
        fetch_musk1(data_home=tmp_path, base_url="http://127.0.0.1:9")


def test_an_address_of_another_protocol_is_no_download(tmp_path):
    with pytest.raises(OSError, match="Could not download gopher"):
        fetch_musk1(data_home=tmp_path, base_url="gopher://127.0.0.1")


def test_errors_of_the_program_are_not_taken_for_those_of_the_network(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise TypeError("broken")

    monkeypatch.setattr("pooch.retrieve", broken)
    with pytest.raises(TypeError, match="broken"):
        fetch_musk1(data_home=tmp_path)


def test_download_if_missing_false_never_downloads(archive, tmp_path):
    archive.put(74, "musk+version+1.zip", zipped(clean1__data=musk_lines()))
    with pytest.raises(OSError, match="download_if_missing is False"):
        fetch_musk1(data_home=tmp_path, base_url=archive.url, download_if_missing=False)
    assert QuietHandler.requested == []


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"not a zip", OSError, "not a zip file.*Delete it"),
        (zipped(other__csv=b"1"), ValueError, "neither 'clean1.data' nor.*other.csv"),
        (zipped(clean1__data=musk_lines(165)), ValueError, "169 columns"),
        (zipped(clean1__data=musk_lines().replace(b",1.", b",2.")), ValueError, "classes 0 and 1"),
        (zipped(clean1__data=musk_lines().replace(b",1.", b",")), ValueError, "none missing"),
        (
            zipped(clean1__data=musk_lines().replace(b",1.", b",0.", 1)),
            ValueError,
            "MUSK-1",
        ),
    ],
    ids=["no-zip", "no-member", "columns", "classes", "missing", "two-labels"],
)
def test_another_layout_is_refused(tmp_path, content, error, message):
    (tmp_path / "musk+version+1.zip").write_bytes(content)
    with pytest.raises(error, match=message):
        fetch_musk1(data_home=tmp_path, download_if_missing=False)


def test_another_layout_of_parkinsons_is_refused(tmp_path):
    path = tmp_path / "parkinsons+telemonitoring.zip"
    for table, message in (
        (parkinsons_table().replace(b"test_time", b"time"), "must have the columns"),
        (parkinsons_table().replace(b"-0.4", b""), "none missing"),
    ):
        path.write_bytes(zipped(parkinsons_updrs__data=table))
        with pytest.raises(ValueError, match=message):
            fetch_parkinsons_telemonitoring(data_home=tmp_path)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="return_X_y"):
        fetch_musk2(return_X_y="yes")
