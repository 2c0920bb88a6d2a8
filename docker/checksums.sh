#!/usr/bin/env bash
# Prints the checksum of the program in each of the eight images that are here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for image in $(docker buildx bake --file docker/bake.hcl --print 2>/dev/null | sed -n '/"tags"/{n;s/[ ",]//gp}'); do
    container=$(docker create "$image")
    program=$(docker inspect --format '{{index .Config.Entrypoint 0}}' "$container")
    printf '%s  %s\n' "$(docker cp "$container:$program" - | tar -xO | sha256sum | cut -d ' ' -f 1)" "$image"
    docker rm "$container" >/dev/null
done
