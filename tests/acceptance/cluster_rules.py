"""What we ask of every manifest and every service beyond what a schema can: each rule answers with sentences.

A rule that finds nothing wrong returns nothing; the tests plant mistakes to see that each can find something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from config.settings import Settings, WorkerSettings
from tests.acceptance.kustomize import Manifest, pods

AFTER_DRAIN_S = 15
"""What a worker gets beyond its drain, to write down what it brought home."""
GIVEN = {"retouch-secrets", "retouch-api-keys"}
"""The Secrets that a cluster brings itself."""
ROOT_BY_NEED = {"seaweedfs-volume"}
"""The one container that is root: it hands a new volume over, without a network, and ends."""
NO_HEALTH = {"seaweedfs-volume", "retouch"}
"""Services that do one thing and end."""

_PASSWORD = re.compile(r"://[^/\s@]*:[^/\s@]+@")
_DURATION = re.compile(r"^(\d+)s$")


def secret_variables() -> set[str]:
    """Return the names of every setting that is a secret, but for Redis's URL, which is one only with a password."""
    found = {"BFL_API_KEY", "AWS_SECRET_ACCESS_KEY"}
    for part, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for name, inner in field.annotation.model_fields.items():
                if SecretStr.__name__ in str(inner.annotation):
                    found.add(f"RETOUCH_{part}__{name}".upper())
    return found - {"RETOUCH_REDIS__URL"}


def shown_secrets(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with plain variables: a secret by value, or a password in a URL."""
    for name, value in values.items():
        if name in secret_variables():
            yield f"{name} is given by value: name a file in {name}_FILE"
        if _PASSWORD.search(str(value)):
            yield f"{name} shows a password"


def image_faults(image: str) -> Iterator[str]:
    """Yield what is wrong with the name of an image."""
    name, _, tag = image.rpartition("/")[2].partition(":")
    if "@sha256:" not in image and tag in ("", "latest"):
        yield f"{name}: the image has no version"


# -- Kubernetes


def faults(manifests: list[Manifest]) -> list[str]:
    """Return what is wrong with a rendered overlay, each with the manifest's name."""
    found = []
    for manifest in manifests:
        said = f"{manifest['kind']}/{manifest['metadata']['name']}"
        found += [f"{said}: {fault}" for rule in (_of_pods, _of_kinds) for fault in rule(manifest, manifests)]
    if not any(_denies_everything(manifest) for manifest in manifests):
        found.append("no NetworkPolicy denies what none allows")
    return found


def _of_pods(manifest: Manifest, manifests: list[Manifest]) -> Iterator[str]:
    for pod in pods(manifest):
        yield from _of_a_pod(pod)
        claimed = {each["metadata"]["name"] for each in manifest["spec"].get("volumeClaimTemplates", ())}
        yield from _references(pod, claimed, manifests)
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            for fault in _of_a_container(container):
                yield f"{container['name']}: {fault}"
        if any(container.get("args", [""])[0] == "worker" for container in pod["containers"]):
            least = _drain_s(manifests) + AFTER_DRAIN_S
            if pod.get("terminationGracePeriodSeconds", 30) < least:
                yield f"terminationGracePeriodSeconds is under {least:g}: a drain would be cut off"


def _of_a_pod(pod: Manifest) -> Iterator[str]:
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccomp profile"
    if pod.get("automountServiceAccountToken") is not False:
        yield "is handed a token of the cluster's API"
    if any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        yield "shares something with its node"
    if any("hostPath" in volume for volume in pod.get("volumes", ())):
        yield "mounts a folder of its node"


def _of_a_container(container: Manifest) -> Iterator[str]:
    yield from image_faults(container["image"])
    context = container.get("securityContext", {})
    if context.get("readOnlyRootFilesystem") is not True:
        yield "its root can be written to"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    for probe in ("livenessProbe", "readinessProbe"):
        if probe not in container:
            yield f"has no {probe}"
    resources = container.get("resources", {})
    if not {"cpu", "memory"} <= set(resources.get("requests", ())) or "memory" not in resources.get("limits", ()):
        yield "does not say what it needs, and how much memory it may take"
    yield from shown_secrets({each["name"]: each.get("value", "") for each in container.get("env", ())})
    mounted = {mount["mountPath"] for mount in container.get("volumeMounts", ())}
    if "/tmp" not in mounted:
        yield "has no /tmp to write to"


def _references(pod: Manifest, claimed: set[str], manifests: list[Manifest]) -> Iterator[str]:
    """Yield what a pod refers to and nobody makes; Secrets may be the cluster's, volumes be `claimed` for it."""
    made = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    wanted = [("ServiceAccount", pod.get("serviceAccountName", "default"))]
    wanted += [("Secret", volume["secret"]["secretName"]) for volume in pod.get("volumes", ()) if "secret" in volume]
    maps = [volume["configMap"] for volume in pod.get("volumes", ()) if "configMap" in volume]
    wanted += [("ConfigMap", each["name"]) for each in maps if not each.get("optional")]
    for container in pod["containers"]:
        wanted += [("ConfigMap", each["configMapRef"]["name"]) for each in container.get("envFrom", ())]
        volumes = {volume["name"] for volume in pod.get("volumes", ())} | claimed
        for mount in container.get("volumeMounts", ()):
            if mount["name"] not in volumes:
                yield f"mounts {mount['name']}, which is no volume"
    for kind, name in wanted:
        if (kind, name) not in made and not (kind == "Secret" and name in GIVEN):
            yield f"refers to {kind} {name}, which nobody makes"


def _of_kinds(manifest: Manifest, manifests: list[Manifest]) -> Iterator[str]:
    kind, spec = manifest["kind"], manifest.get("spec", {})
    labels = [_template_labels(each) for each in manifests if any(pods(each))]
    if kind in ("Deployment", "StatefulSet"):
        if not _selects(spec["selector"], _template_labels(manifest)):
            yield "does not select its own pods"
        if "beat" in [container["name"] for container in spec["template"]["spec"]["containers"]] and (
            spec.get("replicas") != 1 or spec.get("strategy", {}).get("type") != "Recreate"
        ):
            yield "there may be two beats at a time"
    if kind == "PodDisruptionBudget" and not any(_selects(spec["selector"], each) for each in labels):
        yield "protects no pod"
    if kind == "NetworkPolicy" and not any(_selects(spec["podSelector"], each) for each in labels):
        yield "is about no pod"
    if kind == "Service" and not any(_selects({"matchLabels": spec["selector"]}, each) for each in labels):
        yield "leads to no pod"
    if kind == "ConfigMap":
        yield from shown_secrets(manifest["data"])
    if kind == "Namespace":
        enforced = manifest["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
        if enforced != "restricted":
            yield "does not enforce restricted pods"


def _template_labels(manifest: Manifest) -> Mapping[str, str]:
    labels: Mapping[str, str] = manifest["spec"]["template"]["metadata"]["labels"]
    return labels


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return set(selector.get("matchLabels", {}).items()) <= set(labels.items())


def _denies_everything(manifest: Manifest) -> bool:
    spec = manifest.get("spec", {})
    return (
        manifest["kind"] == "NetworkPolicy"
        and spec["podSelector"] == {}
        and set(spec["policyTypes"]) == {"Ingress", "Egress"}
        and not spec.get("ingress")
        and not spec.get("egress")
    )


def _drain_s(manifests: list[Manifest]) -> float:
    """Return how long a worker may take to end, as the ConfigMap or the default says."""
    said = [each["data"].get("RETOUCH_WORKER__DRAIN_S") for each in manifests if each["kind"] == "ConfigMap"]
    return float(next(filter(None, said), None) or WorkerSettings().drain_s)


# -- Compose


def compose_faults(compose: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a Compose file, each with the service's name."""
    found = []
    for name, service in compose["services"].items():
        rules = (_service_hardened(name, service), _service_cared_for(name, service, compose))
        found += [f"{name}: {fault}" for rule in rules for fault in rule]
    return found


def _service_hardened(name: str, service: Mapping[str, Any]) -> Iterator[str]:
    yield from image_faults(service["image"])
    user = str(service.get("user", ""))
    if name not in ROOT_BY_NEED and (not user or user.split(":")[0] in ("0", "root")):
        yield "may run as root"
    if service.get("read_only") is not True:
        yield "its root can be written to"
    if service.get("cap_drop") != ["ALL"] or (service.get("cap_add") and name not in ROOT_BY_NEED):
        yield "keeps capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", ()):
        yield "may gain privileges"
    if service.get("privileged"):
        yield "is privileged"
    if any("docker.sock" in str(volume) for volume in service.get("volumes", ())):
        yield "holds the engine's socket"
    for port in service.get("ports", ()):
        if not str(port).startswith("127.0.0.1:"):
            yield f"the port {port} is open to the network"
    yield from shown_secrets(service.get("environment", {}))


def _service_cared_for(name: str, service: Mapping[str, Any], compose: Mapping[str, Any]) -> Iterator[str]:
    if name not in NO_HEALTH and "healthcheck" not in service:
        yield "has no health check"
    if "restart" not in service:
        yield "does not say what happens when it ends"
    secrets = set(service.get("secrets", ()))
    for secret in sorted(secrets - set(compose.get("secrets", {}))):
        yield f"the secret {secret} is not declared"
    for variable, value in service.get("environment", {}).items():
        if str(value).startswith("/run/secrets/") and str(value).removeprefix("/run/secrets/") not in secrets:
            yield f"{variable} names a secret that is not mounted"
    if service.get("command") == ["worker"]:
        seconds = _DURATION.match(str(service.get("stop_grace_period", "10s")))
        drain = float(service.get("environment", {}).get("RETOUCH_WORKER__DRAIN_S") or WorkerSettings().drain_s)
        if seconds is None or int(seconds[1]) < drain + AFTER_DRAIN_S:
            yield f"stop_grace_period is under {drain + AFTER_DRAIN_S:g} s: a drain would be cut off"
