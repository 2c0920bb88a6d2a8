"""Kubernetes' own schemas, and those of our custom resource definitions, read as strictly as `kubectl apply` does."""

import copy
import functools

import jsonschema
import kubernetes_validate
from kubernetes_validate import utils

import built

VERSIONS = [utils.major_minor(version) for version in utils.all_versions()]
NEWEST = sorted(set(VERSIONS), key=lambda version: [int(part) for part in version.split(".")])[-3:]

# Foreign kinds that no schema here knows, each with what makes it one.
FOREIGN = {("monitoring.coreos.com/v1", "ServiceMonitor")}

# A version's definitions are large and the same for every object.
utils.schema_contents = functools.cache(utils.schema_contents)


def problems(document, version):
    """What a cluster of this version would say against the document."""
    kind = (document["apiVersion"], document["kind"])
    if kind in FOREIGN:
        return []
    try:
        if document["kind"] in built.definitions():
            custom(document)
        else:
            kubernetes_validate.validate(document, version, strict=True)
    except (jsonschema.ValidationError, utils.SchemaNotFoundError) as error:
        where = "/".join(str(part) for part in getattr(error, "absolute_path", []))
        return [f"{document['kind']} {document['metadata'].get('name')} at {where}: {error.message}"]
    return []


def custom(document):
    definition = built.definitions()[document["kind"]]["spec"]
    group, version = document["apiVersion"].split("/")
    schemas = {one["name"]: one["schema"]["openAPIV3Schema"] for one in definition["versions"] if one["served"]}
    if group != definition["group"] or version not in schemas:
        raise jsonschema.ValidationError(f"{document['apiVersion']} is not served")
    jsonschema.Draft202012Validator(strict(schemas[version])).validate(document)


def strict(schema):
    """The structural schema with what the API server means by it: a field that it does not name is refused, `metadata` is every object's."""
    schema = closed(copy.deepcopy(schema))
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    schema["required"] = ["apiVersion", "kind"]
    return schema


def closed(schema):
    named = schema.get("properties")
    for below in (named or {}).values():
        closed(below)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            closed(schema[key])
    if named is not None and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema
