#!/bin/sh
# usage: age.sh STAMP FOLDER...
# Cargo judges by time stamps whether a file has changed, and in a cache that several checkouts share they mean nothing. So all files in the
# folders become old where they are those of the build that left STAMP, and new where they are not. STAMP.new is for this build to leave.
# It saves the compilation of all programs where only the checkout is another one, and it keeps an old program from being taken for a
# new one, where a file became older with the checkout. If it breaks, build with another CLEAN: then it is not needed.
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
