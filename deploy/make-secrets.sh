#!/bin/sh
# Makes random passwords for every service: deploy/make-secrets.sh [FOLDER], by default deploy/secrets.
#
# Compose mounts a secret's file as it is, owner and mode included, and the containers run under several
# users that are not yours. So the files can be read by anyone who reaches them, and the folder (mode 0700)
# lets nobody else reach them; a container is given only the files that it names. Keep the folder's mode
# when you copy or restore it.
set -eu
umask 077

folder=${1:-$(dirname "$0")/secrets}
if [ -e "$folder" ]; then
  echo "$folder exists: nothing was changed. Services already know its passwords; to start afresh, remove it" >&2
  echo "together with the volumes (docker compose down --volumes deletes all data)." >&2
  exit 1
fi

random() {  # letters and digits alone: safe in URLs, JSON and configuration files
  value=$(od -An -v -tx1 -N"$1" /dev/urandom | tr -d ' \n')
  if [ "${#value}" -ne $(($1 * 2)) ]; then
    echo "/dev/urandom gave too few bytes: nothing was made" >&2
    exit 1
  fi
  printf '%s' "$value"
}

# Built beside its place and renamed when whole, so that a run cut short leaves no half set.
mkdir -p "$(dirname "$folder")"
building=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$building"' EXIT

redis=$(random 24)
postgres=$(random 24)
admin_key=$(random 10)
admin_secret=$(random 24)
app_key=$(random 10)
app_secret=$(random 24)
flower=$(random 12)

put() { printf '%s\n' "$2" >"$building/$1"; }
put redis_auth "requirepass $redis"
put broker_url "redis://:$redis@redis:6379/0"
put postgres_password "$postgres"
put database_url "postgresql://pyramidion:$postgres@postgres:5432/pyramidion"
put s3_admin_access_key_id "$admin_key"
put s3_admin_secret_access_key "$admin_secret"
put s3_access_key_id "$app_key"
put s3_secret_access_key "$app_secret"
# The administrator makes the bucket; the services may use that bucket and do nothing else.
put s3_identities '{"identities": [
  {"name": "admin", "credentials": [{"accessKey": "'"$admin_key"'", "secretKey": "'"$admin_secret"'"}],
   "actions": ["Admin"]},
  {"name": "pyramidion", "credentials": [{"accessKey": "'"$app_key"'", "secretKey": "'"$app_secret"'"}],
   "actions": ["Read:pyramidion", "Write:pyramidion", "List:pyramidion"]}]}'
put flower_auth "pyramidion:$flower"

chmod 0444 "$building"/*
chmod 0700 "$building"
mv "$building" "$folder"
trap - EXIT
echo "made the secrets in $folder"
echo "Flower: name and password in $folder/flower_auth; the page: docker compose run --rm cli users add NAME --role admin"
