"""Starting, restarting and stopping programs: small real ones, so that every way to end can be had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from producers.stack import leash
from producers.stack.errors import StackError
from producers.stack.part import Part, python_env
from producers.stack.supervisor import GIVE_UP_AFTER, QUICK_S, Supervisor, after_end
from tests.servers import is_running, wait_until

FOREVER = "import time; open({mark!r}, 'w').close(); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER
OWNER = """
import sys, time
from pathlib import Path
from producers.stack.part import Part, python_env
from producers.stack.supervisor import Supervisor
mark = Path(sys.argv[1])
supervisor = Supervisor()
supervisor.start([Part(
    name="part", argv=(sys.executable, "-c", f"import time; open({str(mark)!r}, 'w').close(); time.sleep(600)"),
    env=python_env(), folder=mark.parent, log=mark.with_suffix(".log"), ready=mark.exists,
    ready_within_s=60, stop_within_s=5,
)])
print(supervisor.pids()["part"], flush=True)
time.sleep(600)
"""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(said: list[str]) -> Iterator[Supervisor]:
    running = Supervisor(notify=said.append)
    yield running
    running.close()


@pytest.fixture
def part(tmp_path: Path) -> Callable[..., Part]:
    def make(name: str, program: str, *, ready_within_s: float = 60.0, stop_within_s: float = 30.0) -> Part:
        mark = tmp_path / f"{name}.mark"
        return Part(
            name=name,
            argv=(sys.executable, "-c", program.format(mark=str(mark))),
            env=python_env(),
            folder=tmp_path,
            log=tmp_path / f"{name}.log",
            ready=mark.exists,
            ready_within_s=ready_within_s,
            stop_within_s=stop_within_s,
        )

    return make


def test_a_part_that_is_killed_is_started_again_and_said_so(
    supervisor: Supervisor, part: Callable[..., Part], said: list[str]
) -> None:
    supervisor.start([part("one", FOREVER)])
    before = supervisor.pids()["one"]

    os.kill(before, signal.SIGKILL)

    wait_until(lambda: supervisor.pids().get("one", before) != before, what="a new process")
    wait_until(lambda: said == ["one was killed by signal 9 by itself and was started again"], what="the sentence")
    assert supervisor.failure is None


def test_a_part_that_ends_before_it_is_ready_is_an_error_with_its_last_words(
    supervisor: Supervisor, part: Callable[..., Part]
) -> None:
    dying = part("one", "import sys; print('the disk is full'); sys.exit(3)")

    with pytest.raises(StackError, match=r"one ended with code 3 before it was ready.*\n  the disk is full"):
        supervisor.start([dying])


def test_an_error_shows_no_lines_of_an_earlier_run(supervisor: Supervisor, part: Callable[..., Part]) -> None:
    dying = part("one", "")
    dying.log.write_text("an old story\n")

    with pytest.raises(StackError) as caught:
        supervisor.start([dying])

    assert "an old story" not in str(caught.value)


def test_a_part_that_is_never_ready_is_an_error_with_the_time(
    supervisor: Supervisor, part: Callable[..., Part]
) -> None:
    idle = part("one", "import time; time.sleep(600)", ready_within_s=0.3)

    with pytest.raises(StackError, match=r"one was not ready within 0\.3 s"):
        supervisor.start([idle])


def test_a_program_that_does_not_exist_is_an_error_that_names_it(supervisor: Supervisor, tmp_path: Path) -> None:
    missing = Part(
        name="one",
        argv=("/nowhere/at/all",),
        env={},
        folder=tmp_path,
        log=tmp_path / "one.log",
        ready=lambda: False,
        ready_within_s=60,
        stop_within_s=1,
    )

    with pytest.raises(StackError, match="/nowhere/at/all"):
        supervisor.start([missing])


def test_a_part_that_ignores_sigterm_is_killed_once_its_time_is_up(part: Callable[..., Part]) -> None:
    supervisor = Supervisor()
    supervisor.start([part("one", STUBBORN, stop_within_s=0.2)])
    pid = supervisor.pids()["one"]

    supervisor.close()

    assert not is_running(pid)


def test_parts_are_stopped_the_latest_first_and_those_beneath_last(tmp_path: Path, part: Callable[..., Part]) -> None:
    order = tmp_path / "order"
    program = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        f"    open({str(order)!r}, 'a').write('NAME '); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n" + FOREVER
    )
    supervisor = Supervisor()
    supervisor.start([part("worker", program.replace("NAME", "worker"))])
    supervisor.start([part("later", program.replace("NAME", "later"))])
    supervisor.start([part("server", program.replace("NAME", "server"))], beneath=True)

    supervisor.close()

    assert order.read_text().split() == ["later", "worker", "server"]


def test_a_part_is_out_of_reach_of_the_terminals_ctrl_c(supervisor: Supervisor, part: Callable[..., Part]) -> None:
    supervisor.start([part("one", FOREVER)])

    pid = supervisor.pids()["one"]

    assert os.getsid(pid) == pid
    assert os.getpgid(pid) != os.getpgid(0)


def test_nothing_can_be_started_once_it_is_closed(part: Callable[..., Part]) -> None:
    supervisor = Supervisor()
    supervisor.close()

    with pytest.raises(StackError, match="being stopped"):
        supervisor.start([part("one", FOREVER)])


def test_a_part_dies_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "mark")], env=python_env(), stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert is_running(pid)

        owner.kill()

    wait_until(lambda: not is_running(pid), what="the part to follow its owner")


def test_where_the_kernel_does_not_help_the_leash_watches_its_parent(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    program = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid()) + '.'); time.sleep(600)"
    owner_code = (
        "import os, subprocess, sys\n"
        f"subprocess.run([sys.executable, {leash.__file__!r}, str(os.getpid()), '--poll', '--', "
        f"sys.executable, '-c', {program!r}])"
    )
    with subprocess.Popen([sys.executable, "-c", owner_code]) as owner:
        wait_until(lambda: mark.exists() and mark.read_text().endswith("."), what="the program to run")
        pid = int(mark.read_text().rstrip("."))
        assert is_running(pid)

        owner.kill()

    wait_until(lambda: not is_running(pid), what="the program to follow its owner")


def test_the_watching_leash_passes_sigterm_on_and_ends_as_its_program_does(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n" + FOREVER.format(
        mark=str(mark)
    )
    argv = [sys.executable, leash.__file__, str(os.getpid()), "--poll", "--", sys.executable, "-c", program]
    with subprocess.Popen(argv) as watching:
        wait_until(mark.exists, what="the program to run")

        watching.terminate()

        assert watching.wait(timeout=30) == 7


def test_a_leash_whose_owner_is_gone_already_starts_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    somebody_else = "1"

    ended = subprocess.run(
        [sys.executable, leash.__file__, somebody_else, "--", sys.executable, "-c", FOREVER.format(mark=str(mark))],
        timeout=60,
        check=False,
    )

    assert ended.returncode == leash.ORPHANED
    assert not mark.exists()


def test_quick_deaths_in_a_row_are_waited_for_longer_and_longer_and_then_given_up() -> None:
    waits: list[float | None] = []
    quick = 0
    while not waits or waits[-1] is not None:
        quick, wait_s = after_end(quick, lived_s=0.5)
        waits.append(wait_s)

    assert waits == [0.1, 0.4, 1.6, 5.0, None]
    assert quick == GIVE_UP_AFTER


def test_a_part_that_lived_long_begins_anew() -> None:
    assert after_end(GIVE_UP_AFTER - 1, lived_s=QUICK_S) == (0, 0.1)


def test_a_part_that_keeps_dying_is_given_up_with_its_last_words(
    supervisor: Supervisor, part: Callable[..., Part], tmp_path: Path, said: list[str]
) -> None:
    broken = tmp_path / "broken"
    program = (
        f"import os, sys, time; open({{mark!r}}, 'w').close()\n"
        f"if os.path.exists({str(broken)!r}): print('no settings'); sys.exit(2)\n"
        "time.sleep(600)"
    )
    supervisor.start([part("one", program)])

    broken.touch()
    os.kill(supervisor.pids()["one"], signal.SIGKILL)

    wait_until(lambda: supervisor.failure is not None, what="giving up", within_s=60)
    assert "one ended 5 times within 10 s of its start and is not started again" in str(supervisor.failure)
    assert "\n  no settings" in str(supervisor.failure)
    wait_until(lambda: said[-1] == supervisor.failure, what="the sentence")
