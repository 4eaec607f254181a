"""The set-up behind `./nextflow` and `./test`: what it takes, what it refuses, and what an interruption leaves."""

from __future__ import annotations

import ast
import hashlib
import http.server
import json
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launchers import engine, fetch_jars, python_env, setup, steps
from launchers.registry_settings import installer_environment, parse_pip_config

REPOSITORY = Path(__file__).resolve().parents[2]
OFFICIAL = "#!/usr/bin/env bash\nNXF_VER=${{NXF_VER:-'{version}'}}\necho not really\n"
FAKE_UV = r"""#!/bin/sh
# Notes its arguments; makes the environment; fails or stops the launcher when told to.
echo "$*" >> "$FAKE_NOTES"
case "$*" in
    venv*)
        for last; do :; done
        mkdir -p "$last/bin" "$last/lib/python3.11" "$last/lib/python3.12"
        echo > "$last/bin/python" ;;
    "pip sync"*) [ -z "$FAKE_FAILURE" ] || { echo "$FAKE_FAILURE" >&2; exit 2; } ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with pins and nothing set up."""
    root = tmp_path / "a clone"
    (root / "launchers").mkdir(parents=True)
    for name in ("tools.txt", "java.txt", "nextflow.txt", "nextflow-jars.txt", "build.txt"):
        (root / "launchers" / name).write_text(f"pins of {name}\n", encoding="utf-8")
    (root / "requirements.lock").write_text("click==8\n", encoding="utf-8")
    (root / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    return root


@pytest.fixture
def uv(tmp_path: Path) -> Path:
    return executable(tmp_path / "tools" / "uv", FAKE_UV)


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def runner(tmp_path: Path, **more: str) -> steps.Runner:
    environ = {"PATH": "/usr/bin:/bin", "FAKE_NOTES": str(tmp_path / "notes"), "FAKE_FAILURE": ""}
    return steps.Runner(environ | more)


def notes(tmp_path: Path) -> list[str]:
    path = tmp_path / "notes"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


# The Python environment


def test_an_environment_is_made_once(clone: Path, uv: Path, tmp_path: Path) -> None:
    assert python_env.environment_state(clone) == "absent"
    python_env.make_environment(clone, uv, runner(tmp_path))
    assert python_env.environment_state(clone) == "ready"
    done = notes(tmp_path)
    assert [line.split()[0:2] for line in done] == [["venv", "--quiet"], ["pip", "sync"], ["pip", "install"]]
    assert "--require-hashes" in done[1] and "--compile-bytecode" in done[1]
    python_env.make_environment(clone, uv, runner(tmp_path))
    assert notes(tmp_path) == done


def test_an_interrupted_environment_is_made_anew(clone: Path, uv: Path, tmp_path: Path) -> None:
    class Killed(steps.Runner):
        def __call__(self, *argv: str | Path) -> str:
            if "sync" in argv:
                raise KeyboardInterrupt
            return super().__call__(*argv)

    with pytest.raises(KeyboardInterrupt):
        python_env.make_environment(clone, uv, Killed(runner(tmp_path).environ))
    (clone / ".venv" / "half-made").touch()
    assert python_env.environment_state(clone) == "broken"
    python_env.make_environment(clone, uv, runner(tmp_path))
    assert python_env.environment_state(clone) == "ready"
    assert not (clone / ".venv" / "half-made").exists()


@pytest.mark.parametrize(
    ("changed", "state"), [("requirements.lock", "outdated"), ("pyproject.toml", "package"), ("README.md", "ready")]
)
def test_what_an_edit_asks_for(clone: Path, uv: Path, tmp_path: Path, changed: str, state: str) -> None:
    python_env.make_environment(clone, uv, runner(tmp_path))
    (clone / changed).write_text("other\n", encoding="utf-8")
    assert python_env.environment_state(clone) == state
    n_before = len(notes(tmp_path))
    python_env.make_environment(clone, uv, runner(tmp_path))
    again = [line.split()[1] for line in notes(tmp_path)[n_before:]]
    assert again == {"outdated": ["sync", "install"], "package": ["install"], "ready": []}[state]
    assert python_env.environment_state(clone) == "ready"


def test_a_moved_clone_and_a_lost_interpreter_are_broken(clone: Path, uv: Path, tmp_path: Path) -> None:
    python_env.make_environment(clone, uv, runner(tmp_path))
    moved = clone.rename(tmp_path / "elsewhere")
    assert python_env.environment_state(moved) == "broken"
    python_env.make_environment(moved, uv, runner(tmp_path))
    assert python_env.environment_state(moved) == "ready"
    (moved / ".venv" / "bin" / "python").unlink()
    assert python_env.environment_state(moved) == "broken"


def test_an_environment_made_by_hand_is_kept_and_brought_in_line(clone: Path, uv: Path, tmp_path: Path) -> None:
    venv = clone / ".venv"
    executable(venv / "bin" / "python", "")
    (venv / "lib" / f"python3.{sys.version_info.minor}").mkdir(parents=True)
    (venv / "mine").touch()
    assert python_env.environment_state(clone) == "outdated"
    python_env.make_environment(clone, uv, runner(tmp_path))
    assert (venv / "mine").exists()
    assert [line.split()[1] for line in notes(tmp_path)] == ["sync", "install"]


def test_an_unreachable_index_is_named_with_the_cure(clone: Path, uv: Path, tmp_path: Path) -> None:
    failure = "error: error sending request for url (https://me:secret@index.example/simple/click/)"
    with pytest.raises(steps.SetupError) as caught:
        python_env.make_environment(clone, uv, runner(tmp_path, FAKE_FAILURE=failure))
    message = str(caught.value)
    assert "The Python package index is out of reach" in message
    assert "pip sync" in message and "index.example" in message
    for cure in ("HTTPS_PROXY", "PIP_INDEX_URL", "PIP_CERT"):
        assert cure in message
    assert "secret" not in message
    assert python_env.environment_state(clone) == "broken"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Hash mismatch for `click==8`", "not the one that is pinned, so it was refused"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "not the one that is pinned"),
        ("OSError: [Errno 28] No space left on device", "UV_CACHE_DIR"),
        ("Temporary failure in name resolution", "out of reach"),
        ("invalid peer certificate: UnknownIssuer", "PIP_CERT"),
        ("something else", "If the Python package index is hard to reach"),
    ],
)
def test_each_failure_has_its_reason(said: str, reason: str) -> None:
    error = steps.explain("it", steps.PYTHON_INDEX, steps.CommandError(["uv"], 1, said))
    assert reason in str(error) and said in str(error)


def test_a_python_without_venv_and_pip_is_told_what_to_install(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(python_env.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(steps.SetupError, match="apt-get install python3-venv"):
        python_env.make_tools(clone, runner(tmp_path))


def test_the_installers_are_made_once(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = clone / ".launch" / "tools"
    make = 'if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi'
    fake = executable(tmp_path / "python", f'#!/bin/sh\necho "$*" >> "$FAKE_NOTES"\n{make}\n')
    monkeypatch.setattr(python_env, "base_python", lambda: str(fake))
    for _ in range(2):
        assert python_env.make_tools(clone, runner(tmp_path)) == tools / "bin" / "uv"
    assert [line.split()[1] for line in notes(tmp_path)] == ["venv", "pip"]
    assert "--require-hashes" in notes(tmp_path)[1]
    (tools / "bin" / "python").unlink()
    python_env.make_tools(clone, runner(tmp_path))
    assert len(notes(tmp_path)) == 4


# Settings for the registries


def test_settings_of_pip_hold_for_uv() -> None:
    user = {
        "PIP_CERT": "/ca.pem",
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "PIP_FIND_LINKS": "/does/not/exist https://links.example/a",
        "PYTHONPATH": "/mine",
    }
    env = installer_environment(user)
    assert env["SSL_CERT_FILE"] == env["REQUESTS_CA_BUNDLE"] == "/ca.pem"
    assert env["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert env["UV_FIND_LINKS"] == "https://links.example/a"
    assert "PYTHONPATH" not in env and user["PYTHONPATH"] == "/mine"


def test_settings_of_uv_hold_for_pip_and_are_not_overruled() -> None:
    env = installer_environment(
        {"UV_INDEX_URL": "https://uv.example/simple", "SSL_CERT_FILE": "/uv.pem", "PIP_CERT": "/pip.pem"}
    )
    assert env["PIP_INDEX_URL"] == "https://uv.example/simple"
    assert "UV_DEFAULT_INDEX" not in env
    assert (env["SSL_CERT_FILE"], env["PIP_CERT"]) == ("/uv.pem", "/pip.pem")


def test_settings_in_pip_configuration_files_count() -> None:
    listing = ":env:.cert='/e.pem'\nglobal.index-url='https://conf.example/simple'\nlist.format='json'\nnonsense\n"
    config = parse_pip_config(listing)
    assert config == {"cert": "/e.pem", "index-url": "https://conf.example/simple"}
    assert installer_environment({}, config)["UV_DEFAULT_INDEX"] == "https://conf.example/simple"


# Nextflow and Java


@pytest.mark.parametrize(
    ("text", "version"),
    [("      version 25.04.4 build 5950", (25, 4)), ("26.05.1-edge", (26, 5)), ("24.10.6", (24, 10)), ("none", None)],
)
def test_parse_version(text: str, version: tuple[int, int] | None) -> None:
    assert engine.parse_version(text) == version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_412"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ('IMPLEMENTOR="x"\nJAVA_VERSION="25.0.1"\n', 25),
        ("Unable to locate a Java Runtime", None),
    ],
)
def test_parse_java_version(text: str, version: int | None) -> None:
    assert engine.parse_java_version(text) == version


def test_a_nextflow_on_path_is_taken_only_when_it_is_fit(clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for version in ("24.10.6", "25.10.2"):
        jar = home / "framework" / version / f"nextflow-{version}-one.jar"
        jar.parent.mkdir(parents=True)
        jar.touch()
    ours = executable(tmp_path / "ours" / "nextflow", 'exec python "$here/launchers/setup.py"\n')
    old = executable(tmp_path / "old" / "nextflow", OFFICIAL.format(version="24.10.6"))
    no_jar = executable(tmp_path / "no jar" / "nextflow", OFFICIAL.format(version="26.04.0"))
    fit = executable(tmp_path / "fit" / "nextflow", OFFICIAL.format(version="25.10.2"))
    unfit = {"PATH": f"{ours.parent}:{old.parent}:{no_jar.parent}", "NXF_HOME": str(home)}
    assert engine.find_nextflow(clone, unfit) is None
    found = engine.find_nextflow(clone, unfit | {"PATH": f"{unfit['PATH']}:{fit.parent}"})
    assert found == engine.Nextflow(fit, is_pinned=False)
    assert engine.find_nextflow(clone, {"PATH": str(fit.parent), "NXF_HOME": str(home), "NXF_VER": "24.10.6"}) is None


def test_an_unknown_nextflow_is_asked_once(clone: Path, tmp_path: Path) -> None:
    script = f'#!/bin/sh\necho asked >> "{tmp_path}/notes"\necho version 25.10.0 build 1\n'
    program = executable(tmp_path / "site" / "nextflow", script)
    for _ in range(2):
        assert engine.find_nextflow(clone, {"PATH": str(program.parent)}) == engine.Nextflow(program, is_pinned=False)
    assert notes(tmp_path) == ["asked"]


def fake_java(home: Path, version: str) -> Path:
    return executable(home / "bin" / "java", f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")


def test_a_folder_on_path_that_cannot_be_looked_into_is_passed_over(tmp_path: Path) -> None:
    # Root may look into any folder, but no name may be as long as this one: the same OSError from the same call.
    there = executable(tmp_path / "bin" / "nextflow", OFFICIAL.format(version="25.04.4"))
    assert engine.programs("nextflow", f"{tmp_path / ('n' * 300)}:{there.parent}") == [there]


def test_the_first_fit_java_is_taken(clone: Path, tmp_path: Path) -> None:
    old, new, fit = (
        fake_java(tmp_path / name, version) for name, version in [("8", "1.8.0_1"), ("25", "25"), ("21", "21.0.8")]
    )
    environ = {"PATH": f"{new.parent}:{fit.parent}", "JAVA_HOME": str(tmp_path / "8")}
    assert engine.find_java(clone, environ, newest=24) == fit
    assert engine.find_java(clone, environ, newest=None) == new
    assert engine.find_java(clone, {"PATH": str(old.parent)}, newest=24) is None
    assert engine.find_java(clone, {"PATH": "", "NXF_JAVA_HOME": str(tmp_path / "none")}, newest=24) is None


def test_the_release_file_of_a_java_is_believed_without_starting_it(clone: Path, tmp_path: Path) -> None:
    java = executable(tmp_path / "jdk" / "bin" / "java", f'#!/bin/sh\necho asked >> "{tmp_path}/notes"\n')
    (tmp_path / "jdk" / "release").write_text('JAVA_VERSION="17.0.15"\n', encoding="utf-8")
    assert engine.java_version(clone, java, {}) == 17
    assert notes(tmp_path) == []


def test_the_environment_of_the_pinned_nextflow(clone: Path, tmp_path: Path) -> None:
    user = {"PATH": "/usr/bin:/bin", "NXF_VER": "24.10.0", "NXF_HOME": "/mine", "NXF_JAVA_HOME": "/unfit"}
    java = tmp_path / "bin" / "java"
    env = engine.engine_environment(engine.pinned_nextflow(clone), java, user)
    assert (env["NXF_VER"], env["NXF_HOME"], env["JAVA_CMD"]) == ("25.04.4", "/mine", str(java))
    assert env["NXF_BIN"].endswith(".launch/nextflow-25.04.4/nextflow.jar")
    assert "NXF_JAVA_HOME" not in env and user["NXF_JAVA_HOME"] == "/unfit"
    assert "NXF_OFFLINE" not in env
    theirs = engine.engine_environment(engine.Nextflow(Path("/usr/bin/nextflow"), is_pinned=False), java, user)
    assert theirs["NXF_VER"] == "24.10.0" and "NXF_BIN" not in theirs


def test_the_starter_names_every_jar_in_lines_that_java_accepts(tmp_path: Path) -> None:
    names = sorted(f"library-number-{number}.jar" for number in range(40))
    (tmp_path / "libs").mkdir()
    for name in names:
        (tmp_path / "libs" / name).touch()
    with zipfile.ZipFile(engine.write_starter(tmp_path)) as jar:
        manifest = jar.read("META-INF/MANIFEST.MF").decode()
    assert max(len(line) for line in manifest.split("\r\n")) <= 72
    unfolded = manifest.replace("\r\n ", "").split("\r\n")
    assert "Main-Class: nextflow.cli.Launcher" in unfolded
    assert f"Class-Path: {' '.join(f'libs/{name}' for name in names)}" in unfolded


def test_a_folder_takes_its_name_only_when_whole(tmp_path: Path) -> None:
    folder = tmp_path / "engine"

    def interrupted(partial: Path) -> None:
        (partial / "one").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine._build_aside(folder, {"pins": "1"}, interrupted)
    assert not folder.exists()
    engine._build_aside(folder, {"pins": "1"}, lambda partial: (partial / "two").touch())
    assert steps.read_stamp(folder) == {"pins": "1"}
    assert not (folder / "one").exists() and (folder / "two").exists()


# Jars


JARS = {"a.b:first:1.0": b"first", "c:second:2.0": b"second"}


@pytest.fixture
def repository_url(tmp_path: Path) -> Iterator[str]:
    """A Maven repository on this machine, with the two jars."""
    served = tmp_path / "served"
    for jar in fetch_jars.read_pins(pins_of(JARS)):
        path = served / jar.path
        path.parent.mkdir(parents=True)
        path.write_bytes(JARS[f"{jar.group}:{jar.artifact}:{jar.version}"])

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(served))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def pins_of(jars: dict[str, bytes]) -> str:
    return "# comment\n" + "".join(f"{name} {hashlib.sha256(body).hexdigest()}\n" for name, body in jars.items())


def fetch_all(
    tmp_path: Path, jars: dict[str, bytes], url: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, list[str]]:
    pins = tmp_path / "pins.txt"
    pins.write_text(pins_of(jars), encoding="utf-8")
    monkeypatch.setenv("BRB_MAVEN_URL", url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    code = fetch_jars.main(pins, tmp_path / "libs")
    return code, sorted(path.name for path in (tmp_path / "libs").iterdir())


def test_jars_are_fetched_and_checked(tmp_path: Path, repository_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch_all(tmp_path, JARS, repository_url, monkeypatch) == (0, ["first-1.0.jar", "second-2.0.jar"])


def test_a_jar_with_another_hash_is_refused(
    tmp_path: Path, repository_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = JARS | {"c:second:2.0": b"what was pinned"}
    assert fetch_all(tmp_path, wanted, repository_url, monkeypatch) == (1, ["first-1.0.jar"])
    said = capsys.readouterr().err
    assert "second-2.0.jar" in said
    error = steps.explain("Nextflow", steps.MAVEN_CENTRAL, steps.CommandError(["fetch"], 1, said))
    assert "A file from Maven Central is not the one that is pinned" in str(error)


def test_an_unreachable_repository_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch_all(tmp_path, JARS, "http://127.0.0.1:9", monkeypatch) == (1, [])
    error = steps.explain("Nextflow", steps.MAVEN_CENTRAL, steps.CommandError(["f"], 1, capsys.readouterr().err))
    assert "Maven Central is out of reach" in str(error) and "BRB_MAVEN_URL" in str(error)


def test_the_pinned_jars_are_the_tried_pairing() -> None:
    jars = fetch_jars.read_pins((REPOSITORY / "launchers" / "nextflow-jars.txt").read_text(encoding="utf-8"))
    versions = {jar.artifact: jar.version for jar in jars}
    assert len(jars) == len({jar.name for jar in jars}) == 57
    assert {versions["nextflow"], versions["nf-commons"], versions["nf-httpfs"]} == {engine.NEXTFLOW_VERSION}
    assert versions["nf-lang"] == "25.04.0" and "lib-trace" not in versions
    assert all(len(jar.sha256) == 64 for jar in jars)


# The launchers


def test_only_one_launcher_sets_up_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []
    with steps.only_one(tmp_path / ".launch"):

        def second() -> None:
            with steps.only_one(tmp_path / ".launch"):
                order.append("second")

        other = threading.Thread(target=second)
        other.start()
        other.join(timeout=0.3)
        assert other.is_alive()
        order.append("first")
    other.join(timeout=10)
    assert order == ["first", "second"]


def test_an_orphan_of_a_killed_launcher_is_waited_for(tmp_path: Path) -> None:
    with steps.only_one(tmp_path / ".launch") as lock:
        orphan = subprocess.Popen(["sleep", "60"], pass_fds=(lock.fileno(),))
    with (tmp_path / ".launch" / "lock").open() as again, pytest.raises(BlockingIOError):
        steps.fcntl.flock(again, steps.fcntl.LOCK_EX | steps.fcntl.LOCK_NB)
    orphan.kill()
    orphan.wait()
    with steps.only_one(tmp_path / ".launch"):
        pass


def test_what_pytest_and_nextflow_are_started_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nextflow = engine.Nextflow(tmp_path / "nextflow", is_pinned=True)
    started: list[list[str]] = []

    def become(program: object, argv: list[str], env: dict[str, str]) -> None:
        started.append(argv)
        raise SystemExit

    monkeypatch.setattr(setup, "prepare", lambda root, environ: ({"PATH": ""}, nextflow))
    monkeypatch.setattr(setup.os, "execve", become)
    monkeypatch.chdir(tmp_path)
    for target, arguments in [("nextflow", ["run", ".", "-profile", "demo"]), ("test", ["-k", "word"])]:
        with pytest.raises(SystemExit):
            setup.main(target, arguments)
    assert started[0] == [str(nextflow.program), "run", ".", "-profile", "demo"]
    assert started[1][1:3] == ["-m", "pytest"] and started[1][-2:] == ["-k", "word"]


def test_a_failed_set_up_is_one_message_and_exit_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(root: Path, environ: dict[str, str]) -> None:
        raise steps.SetupError("no network: do this")

    monkeypatch.setattr(setup, "prepare", fail)
    assert setup.main("nextflow", []) == 1
    assert capsys.readouterr().err == "bulkrnabert: no network: do this\n"


@pytest.mark.parametrize("name", ["nextflow", "test"])
def test_a_launcher_works_through_a_link_and_from_another_folder(name: str, tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    shutil.copy(REPOSITORY / name, executable(clone / name, ""))
    executable(
        clone / "launchers" / "setup.py", "import os, sys, json; print(json.dumps([os.getcwd(), *sys.argv[1:]]))"
    )
    link = tmp_path / "bin" / "started"
    link.parent.mkdir()
    link.symlink_to(clone / name)
    environ = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    done = subprocess.run(
        [str(link), "a b", "-c"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [str(tmp_path), name, "a b", "-c"]


@pytest.mark.parametrize("name", ["nextflow", "test"])
def test_without_a_fit_python_a_launcher_says_so(name: str, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copy(REPOSITORY / name, executable(clone / name, ""))
    for tool in ("bash", "dirname", "readlink"):
        (clone / "bin").mkdir(exist_ok=True)
        (clone / "bin" / tool).symlink_to(str(shutil.which(tool)))
    executable(clone / "bin" / "python3", "#!/bin/sh\nexit 1\n")
    bash = clone / "bin" / "bash"
    done = subprocess.run(
        [str(bash), str(clone / name)], env={"PATH": str(bash.parent)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no Python 3.11 or 3.12 on PATH" in done.stderr and "apt-get install" in done.stderr


def test_the_set_up_needs_the_standard_library_only() -> None:
    allowed = set(sys.stdlib_module_names) | {"launchers"}
    for path in (REPOSITORY / "launchers").glob("*.py"):
        found = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).split(".")[0])
        extra = {"requests", "jgo"} if path.name == "fetch_jars.py" else set()
        assert found <= allowed | extra, path.name
