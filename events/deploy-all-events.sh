#!/usr/bin/env bash
# Applies the manifests of all seven events to the cluster of the current kubectl context.
set -euo pipefail
cd "$(dirname "$0")"

command -v kubectl >/dev/null || {
  echo "kubectl is not installed or not on PATH" >&2
  exit 1
}

for event_dir in customer-registered customer-saved user-saved welcome-email-sent \
  marketing-notified swag-ordered touchpoints-created; do
  echo "Deploying $event_dir..."
  kubectl apply -f "$event_dir/"
  echo "✓ $event_dir deployed"
  echo ""
done

echo "All events deployed successfully!"
