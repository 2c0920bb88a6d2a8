#!/bin/sh
# usage: age.sh STAMP FOLDER...
# Cargo judges by time stamps whether a file has changed, and in a cache that several checkouts share they mean nothing. So all files in the
# folders become old where they are those of the build that left STAMP, and new where they are not. STAMP.new is for this build to leave.
set -eu
stamp=$1
shift
mkdir -p "$(dirname "$stamp")"
find "$@" -type f -exec sha256sum {} + | sort >"$stamp.new"
if cmp -s "$stamp" "$stamp.new"; then
    find "$@" -exec touch --date=@0 {} +
else
    rm -f "$stamp"
    find "$@" -exec touch {} +
fi
