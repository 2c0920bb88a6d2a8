#!/usr/bin/env bash
# Reads "+group PGID", "-group PGID", "+directory PATH", "-directory PATH", "+project NAME", "-project NAME" from its input. At
# the end of input it kills the groups still named, every process that mentions a directory still named, and removes those
# directories and the containers, volumes and networks of the compose projects still named.
declare -A groups=() directories=() projects=()
while read -r verb what; do
    case $verb in
    +group) groups[$what]=1 ;;
    -group) unset "groups[$what]" ;;
    +directory) directories[$what]=1 ;;
    -directory) unset "directories[$what]" ;;
    +project) projects[$what]=1 ;;
    -project) unset "projects[$what]" ;;
    esac
done
for group in "${!groups[@]}"; do
    kill -KILL -- "-$group"
done
for directory in "${!directories[@]}"; do
    for process in /proc/[0-9]*; do
        if grep -qaF -- "$directory" "$process/environ" || [[ $(readlink "$process/cwd") == "$directory"* ]]; then
            kill -KILL "${process#/proc/}"
        fi
    done
    rm -rf -- "$directory"
done
for project in "${!projects[@]}"; do
    label=label=com.docker.compose.project=$project
    # Again while there are any: a dispatcher may start a Job between the look and its end.
    while containers=$(docker ps --all --quiet --filter "$label") && [[ -n $containers ]]; do
        xargs docker rm --force --volumes <<<"$containers"
    done
    docker volume ls --quiet --filter "$label" | xargs --no-run-if-empty docker volume rm
    docker network ls --quiet --filter "$label" | xargs --no-run-if-empty docker network rm
done
