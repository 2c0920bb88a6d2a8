#!/usr/bin/env bash
# Reads "+group PGID", "-group PGID", "+directory PATH", "-directory PATH", "+project NAME", "-project NAME", "+scope NAME" from
# its input. At the end of input it kills the groups still named, every process that mentions a directory still named, and removes
# those directories, the containers, volumes and networks of the compose projects still named, and the containers of the dispatchers
# whose scopes were named.
declare -A groups=() directories=() projects=() scopes=()
while read -r verb what; do
    case $verb in
    +group) groups[$what]=1 ;;
    -group) unset "groups[$what]" ;;
    +directory) directories[$what]=1 ;;
    -directory) unset "directories[$what]" ;;
    +project) projects[$what]=1 ;;
    -project) unset "projects[$what]" ;;
    +scope) scopes[$what]=1 ;;
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
# Again while there are any: a dispatcher may start a Job between the look and its end.
remove_containers() {
    local containers
    while containers=$(docker ps --all --quiet --filter "$1") && [[ -n $containers ]]; do
        xargs docker rm --force --volumes <<<"$containers"
    done
}
for scope in "${!scopes[@]}"; do
    remove_containers "label=dispatcher.knapscen.disco/scope=$scope"
done
for project in "${!projects[@]}"; do
    label=label=com.docker.compose.project=$project
    remove_containers "$label"
    docker volume ls --quiet --filter "$label" | xargs --no-run-if-empty docker volume rm
    docker network ls --quiet --filter "$label" | xargs --no-run-if-empty docker network rm
done
