#!/usr/bin/env bash
# Publishes customer registrations and so starts the onboarding. --help says how.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
subject="customer-registered"
content_type="application/cloudevents+json; charset=utf-8"

help() {
  cat <<'TEXT'
Usage: ./publish-customer-registered.sh [OPTIONS]

Publishes one customer registration, with ids of its own each time.

Options:
  -n, --name NAME     company name (default: one with a part that is unique)
  -t, --tier TIER     basic, groovy or far-out (default: basic)
  -u, --users N       users of the customer, 1 to 50 (default: 3; the first is the account owner)
  -a, --address TEXT  shipping address of the swag (default: an example; "" for none)
  -c, --count N       number of registrations (default: 1)
      --via HOW       compose, nats, dispatcher or http (default: the first of these that can be used;
                      not compose if NATS_URL, NATS_SERVER or EVENTS_URL is set)
      --print         show the events instead of publishing them
  -h, --help          show this help

Where to:
  compose     the stack of docker/compose.yaml or docker/compose.cluster.yaml, if it runs;
              COMPOSE_PROJECT_NAME, or that of docker/.env, if it has another name
  nats        the NATS CLI, with its own settings (NATS_URL, NATS_USER, nats context, ...);
              NATS_SERVER is taken for NATS_URL
  dispatcher  `dispatcher publish`: DISPATCHER if set, else from PATH, else from target/
  http        POST to EVENTS_URL (default http://127.0.0.1:8080/events), with the bearer
              token EVENTS_TOKEN if set

Exit codes: 0 published, 64 wrong usage, 69 no way to publish, 75 publishing failed.
TEXT
}

usage_error() {
  echo "publish-customer-registered.sh: $1 (--help shows the options)" >&2
  exit 64
}

name="" tier=basic users=3 count=1 via="" print=false
address="14 Quayside, 8000 Aarhus, Denmark"

while [[ $# -gt 0 ]]; do
  case "$1" in
    -h | --help)
      help
      exit 0
      ;;
    --print)
      print=true
      shift
      continue
      ;;
    -n | --name | -t | --tier | -u | --users | -a | --address | -c | --count | --via) ;;
    *) usage_error "unknown argument \"$1\"" ;;
  esac
  [[ $# -ge 2 ]] || usage_error "$1 needs a value"
  case "$1" in
    -n | --name) name="$2" ;;
    -t | --tier) tier="$2" ;;
    -u | --users) users="$2" ;;
    -a | --address) address="$2" ;;
    -c | --count) count="$2" ;;
    --via) via="$2" ;;
  esac
  shift 2
done

case "$tier" in basic | groovy | far-out) ;; *) usage_error "\"$tier\" is not a tier: basic, groovy or far-out" ;; esac
case "$via" in "" | compose | nats | dispatcher | http) ;; *) usage_error "--via takes compose, nats, dispatcher or http" ;; esac
[[ "$users" =~ ^([1-9]|[1-4][0-9]|50)$ ]] || usage_error "--users takes 1 to 50"
[[ "$count" =~ ^[1-9][0-9]{0,4}$ ]] || usage_error "--count takes 1 to 99999"
((${#name} <= 64)) || usage_error "the name has ${#name} characters, at most 64 are allowed"
[[ "$name$address" != *[[:cntrl:]]* ]] || usage_error "line breaks and control characters are not allowed"

new_uuid() {
  if [[ -r /proc/sys/kernel/random/uuid ]]; then
    cat /proc/sys/kernel/random/uuid
  else
    uuidgen | tr '[:upper:]' '[:lower:]'
  fi
}

# json_string TEXT: as a JSON string, quotation marks included. Control characters were refused above.
json_string() {
  local text="${1//\\/\\\\}"
  printf '"%s"' "${text//\"/\\\"}"
}

# The company name of one registration.
company_name() {
  local customer="$1" number="$2"
  if [[ -z "$name" ]]; then
    echo "Example Company ${customer%%-*}"
  elif ((count > 1)); then
    local suffix=" $number"
    echo "${name:0:64-${#suffix}}$suffix"
  else
    echo "$name"
  fi
}

# One registration: event CUSTOMER_ID EVENT_ID COMPANY_NAME. E-mail addresses are unique in the whole
# system, so they carry the customer's id.
event() {
  local customer="$1" id="$2" company="$3" list="" shipping="" role i
  for ((i = 1; i <= users; i++)); do
    case $i in 1) role=customer_account_owner ;; 2) role=admin_user ;; *) role=generic_user ;; esac
    list+="${list:+, }{\"name\": \"Example User $i\", \"email\": \"user$i@${customer//-/}.example\", \"role\": \"$role\"}"
  done
  [[ -z "$address" ]] || shipping=", \"shipping_address\": $(json_string "$address")"
  cat <<JSON
{
  "specversion": "1.0",
  "type": "disco.knapscen.customer.registered",
  "source": "knapscen.disco",
  "subject": "$customer",
  "id": "$id",
  "time": "$(date -u +%Y-%m-%dT%H:%M:%SZ)",
  "datacontenttype": "application/json",
  "data": {
    "name": $(json_string "$company"),
    "subscription_tier": "$tier",
    "users": [$list]$shipping
  }
}
JSON
}

find_dispatcher() {
  local candidate
  for candidate in "${DISPATCHER:-}" "$(command -v dispatcher || true)" \
    "$root"/target/{release,debug}/{dispatcher,demo}; do
    if [[ -n "$candidate" && -x "$candidate" ]]; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# The projects that a stack of ours may be: that of the shell, else of the file that Compose reads, else the usual ones.
projects() {
  local project="${COMPOSE_PROJECT_NAME:-}" file="$root/docker/.env"
  if [[ -z "$project" && -r "$file" ]]; then
    project="$(sed -n 's/^COMPOSE_PROJECT_NAME=["'\'']\{0,1\}\([a-z0-9_-]*\).*/\1/p' "$file" | tail -n 1)"
  fi
  echo "${project:-knapscen knapscen-cluster}"
}

# running PROJECT SERVICE: the container of a service of a stack, if it runs.
running() {
  docker ps --quiet --filter "label=com.docker.compose.project=$1" --filter "label=com.docker.compose.service=$2" \
    --filter "label=com.docker.compose.oneoff=False" 2>/dev/null | grep -m 1 .
}

# A running dispatcher of a stack of ours: it knows the way to its NATS.
find_stack() {
  command -v docker >/dev/null || return 1
  local project
  for project in $(projects); do
    running "$project" dispatcher || running "$project" dispatcher-2 || continue
    return
  done
  return 1
}

if [[ -z "$via" && "$print" == false ]]; then
  if [[ -z "${NATS_URL:-}${NATS_SERVER:-}${EVENTS_URL:-}" ]] && find_stack >/dev/null; then
    via=compose
  elif command -v nats >/dev/null; then
    via=nats
  elif find_dispatcher >/dev/null; then
    via=dispatcher
  elif command -v curl >/dev/null; then
    via=http
  else
    echo "nothing to publish with: install the NATS CLI or curl, or build the dispatcher (cargo build --release -p dispatcher)" >&2
    exit 69
  fi
fi

publish() {
  local file="$1" id="$2"
  case "$via" in
    compose)
      docker exec --interactive "$stack" /dispatcher publish - <"$file" >&2
      ;;
    nats)
      # The message id lets JetStream drop a repeat. Everything but the server comes from nats' own settings.
      nats pub "$subject" "$(cat "$file")" ${NATS_SERVER:+--server "$NATS_SERVER"} \
        --header "Content-Type: $content_type" --header "Nats-Msg-Id: $id" >&2
      ;;
    dispatcher)
      "$dispatcher" publish "$file" >&2
      ;;
    http)
      curl --fail-with-body --silent --show-error --max-time 30 --header "Content-Type: $content_type" \
        ${EVENTS_TOKEN:+--header "Authorization: Bearer $EVENTS_TOKEN"} --data-binary "@$file" "$url" >&2
      ;;
  esac
}

dispatcher="" stack="" url="${EVENTS_URL:-http://127.0.0.1:8080/events}"
if [[ "$via" == compose ]]; then
  stack="$(find_stack)" || {
    echo "no stack runs: start it with docker compose -f docker/compose.yaml up" >&2
    exit 69
  }
fi
if [[ "$via" == dispatcher ]]; then
  dispatcher="$(find_dispatcher)" || {
    echo "there is no dispatcher: build it with cargo build --release -p dispatcher, or set DISPATCHER" >&2
    exit 69
  }
fi

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

for ((number = 1; number <= count; number++)); do
  customer="$(new_uuid)"
  id="$(new_uuid)"
  company="$(company_name "$customer" "$number")"
  file="$folder/$customer.json"
  event "$customer" "$id" "$company" >"$file"
  if [[ "$print" == true ]]; then
    cat "$file"
    continue
  fi
  if ! publish "$file" "$id"; then
    echo "publishing by $via failed; $((number - 1)) of $count registrations are published" >&2
    exit 75
  fi
  echo "published: $company, $tier, customer $customer, event $id"
done

# page SERVICE PORT TITLE: where the page of a service in the stack is, if it has one.
page() {
  local project container address
  project="$(docker inspect --format '{{index .Config.Labels "com.docker.compose.project"}}' "$stack")"
  container="$(running "$project" "$1")" || return 0
  address="$(docker port "$container" "$2" 2>/dev/null | head -n 1 || true)"
  [[ -z "$address" ]] || printf '  %-22s http://%s/\n' "$3" "$address"
}

if [[ "$via" == compose && "$print" == false ]]; then
  echo "watch it:"
  page dispatcher 8080 "the dispatcher"
  page dispatcher-2 8080 "the second dispatcher"
  page mail 1080 "mails"
  page partner 9000 "orders, webhook, CRM"
elif [[ "$print" == false ]]; then
  echo "on a cluster, watch the Jobs: kubectl get jobs -n default -w"
fi
