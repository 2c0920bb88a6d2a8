#!/usr/bin/env bash
# deploy-event.sh <event-name>: applies the three manifests of one event to the cluster of
# the current kubectl context.
set -euo pipefail
cd "$(dirname "$0")"

events=(customer-registered customer-saved user-saved welcome-email-sent marketing-notified
  swag-ordered touchpoints-created)

usage() {
  echo "Usage: ./deploy-event.sh <event-name>"
  echo "Available events:"
  printf '%s\n' "${events[@]}"
  exit 1
}

[[ $# -eq 1 ]] || usage
event="${1%/}" # "customer-saved/" is what a shell completes to

if [[ " ${events[*]} " != *" $event "* ]]; then
  echo "There is no event \"$event\"." >&2
  usage
fi

command -v kubectl >/dev/null || {
  echo "kubectl is not installed or not on PATH" >&2
  exit 1
}

kubectl apply -f "$event/"
