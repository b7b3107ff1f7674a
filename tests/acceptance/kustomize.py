"""As much of kustomize as our overlays use, so that they are checked where no kustomize is installed.

It is meant to know little: a field that it does not know is an error, so that an overlay cannot quietly use more than
is checked. Where a `kubectl` is found, a test compares the two.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

KNOWN = {
    "apiVersion",
    "kind",
    "namespace",
    "resources",
    "images",
    "patches",
    "generatorOptions",
    "secretGenerator",
}
MERGED_BY = {"containers": "name", "volumes": "name", "env": "name", "volumeMounts": "mountPath"}
"""Lists that a patch adds to, by the field that says which element is meant; any other list is replaced."""
OF_NO_NAMESPACE = {"Namespace"}


class KustomizeError(AssertionError):
    """An overlay uses what this renderer does not know, or does not fit together."""


def render(folder: Path) -> list[Manifest]:
    """Return the manifests of a base or an overlay."""
    asked = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    if unknown := set(asked) - KNOWN:
        raise KustomizeError(f"{folder}: {', '.join(sorted(unknown))} cannot be rendered here")
    found = [manifest for name in asked.get("resources", ()) for manifest in _resource(folder / name)]
    found += [_secret(folder, each, asked.get("generatorOptions") or {}) for each in asked.get("secretGenerator", ())]
    for patch in asked.get("patches", ()):
        if set(patch) != {"path"}:
            raise KustomizeError(f"{folder}: only patches of the form `path: FILE` can be rendered here")
        for change in documents(folder / patch["path"]):
            _patch(found, change)
    for image in asked.get("images", ()):
        _name_image(found, image)
    if namespace := asked.get("namespace"):
        for manifest in found:
            if manifest["kind"] == "Namespace":
                manifest["metadata"]["name"] = namespace
            if manifest["kind"] not in OF_NO_NAMESPACE:
                manifest["metadata"]["namespace"] = namespace
    names = [identity(manifest) for manifest in found]
    if len(set(names)) != len(names):
        raise KustomizeError(f"{folder}: one name twice among {names}")
    return found


def documents(path: Path) -> list[Manifest]:
    """Return the YAML documents of a file."""
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each is not None]


def identity(manifest: Manifest) -> tuple[str, str]:
    """Return what a patch finds a manifest by."""
    return manifest["kind"], manifest["metadata"]["name"]


def pods(manifest: Manifest) -> Iterator[Manifest]:
    """Yield the pod that a workload makes, if it is one."""
    template = manifest.get("spec", {}).get("template") if isinstance(manifest.get("spec"), dict) else None
    if template is not None:
        yield template["spec"]


def merged(old: Any, new: Any, field: str = "") -> Any:
    """Return `old` with the strategic merge patch `new`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        result = {key: value for key, value in old.items() if key not in new}
        for key, value in new.items():
            if value is not None:
                result[key] = merged(old.get(key), value, key)
        return result
    if isinstance(old, list) and isinstance(new, list) and field in MERGED_BY:
        key = MERGED_BY[field]
        changes = {each[key]: each for each in new}
        kept = [merged(each, changes.pop(each[key])) if each[key] in changes else each for each in old]
        return kept + list(changes.values())
    return copy.deepcopy(new)


def _resource(path: Path) -> list[Manifest]:
    return render(path) if path.is_dir() else documents(path)


def _patch(found: list[Manifest], change: Manifest) -> None:
    for at, manifest in enumerate(found):
        if identity(manifest) == identity(change):
            found[at] = merged(manifest, change)
            return
    raise KustomizeError(f"a patch is for {identity(change)}, which is not there")


def _name_image(found: list[Manifest], image: Mapping[str, str]) -> None:
    if unknown := set(image) - {"name", "newName", "newTag", "digest"}:
        raise KustomizeError(f"images: {', '.join(sorted(unknown))} cannot be rendered here")
    for pod in (pod for manifest in found for pod in pods(manifest)):
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            name, _, tag = container["image"].partition(":")
            if name == image["name"]:
                version = f"@{image['digest']}" if "digest" in image else f":{image.get('newTag', tag)}"
                container["image"] = image.get("newName", name) + version


def _secret(folder: Path, asked: Mapping[str, Any], options: Mapping[str, Any]) -> Manifest:
    if options != {"disableNameSuffixHash": True} or set(asked) - {"name", "envs", "literals"}:
        raise KustomizeError(f"{folder}: generated Secrets keep their names and come from envs and literals here")
    lines = [
        line for name in asked.get("envs", ()) for line in (folder / name).read_text(encoding="utf-8").splitlines()
    ]
    pairs = [line.partition("=") for line in [*lines, *asked.get("literals", ())] if line and not line.startswith("#")]
    data = {key: base64.b64encode(value.encode()).decode() for key, _, value in pairs}
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": asked["name"]}, "data": data}
