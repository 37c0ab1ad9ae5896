#!/usr/bin/env bash
# Brings compose.yaml up without Docker, as processes of this machine on loopback, over the servers of the tests (make testdeps):
#
#   deploy/compose/run-local.sh up|down|status [-file compose.yaml] [-state DIR]
#
# Same commands, same environment, TLS and tokens as there. Prometheus and Grafana are left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec go run ./internal/testserver/runlocal "$@"
