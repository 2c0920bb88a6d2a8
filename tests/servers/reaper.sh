#!/usr/bin/env bash
# Reads "+group PGID", "-group PGID", "+directory PATH", "-directory PATH" from its input. At the end of input it kills
# the groups still named, every process that mentions a directory still named, and removes those directories.
declare -A groups=() directories=()
while read -r verb what; do
    case $verb in
    +group) groups[$what]=1 ;;
    -group) unset "groups[$what]" ;;
    +directory) directories[$what]=1 ;;
    -directory) unset "directories[$what]" ;;
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
