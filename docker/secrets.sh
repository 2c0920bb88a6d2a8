#!/bin/sh
# Makes the passwords and tokens of the stack on its first start, and writes the configuration that holds them into the
# volumes under /secrets. What is there stays. "secrets.sh show" prints the tokens a person needs.
set -eu
cd /secrets
umask 022

random() { head -c 24 /dev/urandom | od -An -vtx1 | tr -d ' \n'; }

# key FOLDER NAME VALUE: one file per key, as Kubernetes mounts a Secret.
key() {
    mkdir -p "$1"
    printf '%s' "$3" >"$1/$2"
}

if [ "${1:-}" = show ]; then
    for token in ADMIN_TOKEN EVENTS_TOKEN NATS_USER NATS_PASSWORD; do
        printf '%s=%s\n' "$token" "$(cat "config/dispatcher/$token")"
    done
    exit
fi

# Written last: a first start that was cut begins again.
if [ -e config/made ]; then
    echo "passwords and tokens are there"
else
    database=$(random) nats=$(random)
    printf '%s' "$database" >database/password
    cat >nats/user.conf <<CONF
authorization { user: knapscen, password: "$nats" }
CONF
    route=$(random)
    cat >nats/cluster.conf <<CONF
cluster {
  name: knapscen, listen: "0.0.0.0:6222", authorization { user: route, password: "$route" }
  routes: ["nats://route:$route@nats:6222", "nats://route:$route@nats-2:6222", "nats://route:$route@nats-3:6222"]
}
CONF
    for folder in config/dispatcher config/knapscen-config; do
        key "$folder" DB_PASSWORD "$database"
        key "$folder" NATS_PASSWORD "$nats"
    done
    key config/dispatcher ADMIN_TOKEN "$(random)"
    key config/dispatcher EVENTS_TOKEN "$(random)"
    key config/knapscen-config SWAG_API_TOKEN "$(random)"
    touch config/made
    echo "made passwords and tokens"
fi

# Not secret, and written anew: another version of the stack may say something else.
for folder in config/dispatcher config/knapscen-config; do
    key "$folder" DB_HOST database
    key "$folder" DB_USER knapscen
    key "$folder" DB_NAME knapscen
    key "$folder" NATS_SERVER "$NATS_SERVER"
    key "$folder" NATS_USER knapscen
done
folder=config/knapscen-config
key $folder SMTP_SERVER mail
key $folder SMTP_PORT 1025
key $folder SMTP_TLS none
key $folder SMTP_FROM "Knapscen <onboarding@knapscen.example>"
key $folder MARKETING_EMAIL marketing@knapscen.example
key $folder MARKETING_WEBHOOK_URL http://partner:9000/marketing
key $folder SWAG_API_URL http://partner:9000/orders
key $folder CRM_API_URL http://partner:9000/crm
