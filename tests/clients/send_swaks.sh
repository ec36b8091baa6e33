#!/usr/bin/env bash
# Sends one message with swaks, as told by the environment.
set -euo pipefail
case "$SMTP_TLS" in
    implicit) tls=(--tls-on-connect) ;;
    *) tls=(--tls) ;;
esac
message=$(mktemp)
trap 'rm -f "$message"' EXIT
printf 'From: %s\r\nTo: %s\r\nSubject: swaks\r\n\r\n%s' "$SMTP_FROM" "$SMTP_TO" "$SMTP_BODY" >"$message"
swaks --server "$SMTP_HOST" --port "$SMTP_PORT" "${tls[@]}" --tls-verify --tls-ca-path "$SMTP_CA" \
    --auth PLAIN --auth-user "$SMTP_USER" --auth-password "$SMTP_PASSWORD" \
    --from "$SMTP_FROM" --to "$SMTP_TO" --data "@$message"
