#!/usr/bin/env bash
# Makes the certificates, tokens and passwords of compose.yaml, with openssl:
#
#   deploy/compose/secrets.sh [DIR [NAME-OR-IP...]]
#
# DIR is deploy/compose/secrets unless given. Names and addresses beyond those of compose.yaml are put into the certificates. What is
# there is kept: to make one thing anew, delete its file and run this again. ca.key signs the certificates; no container gets it.
set -euo pipefail
umask 077
dir=${1:-$(dirname "$0")/secrets}
shift $(($# > 0 ? 1 : 0))
mkdir -p "$dir"
cd "$dir"

# Containers run as other users than the one who runs this: the directory keeps strangers out, not the files.
shared() { chmod 644 "$1"; }
names() { # of a certificate: NAME-OR-IP...
	local list=""
	for name in "$@"; do
		case $name in
		*[!0-9.]*) list+=",DNS:$name" ;;
		*) list+=",IP:$name" ;;
		esac
	done
	echo "${list#,}"
}
certificate() { # NAME NAME-OR-IP...
	local name=$1
	shift
	[ -e "$name.crt" ] && [ -e "$name.key" ] && return
	openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$name.key"
	openssl req -new -key "$name.key" -subj "/CN=$name" -out "$name.csr"
	printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\nbasicConstraints=CA:FALSE\n' "$(names "$@")" >"$name.ext"
	openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -extfile "$name.ext" -out "$name.crt" 2>/dev/null
	rm -f "$name.csr" "$name.ext" ca.srl
	shared "$name.crt"
	shared "$name.key"
}
random() { openssl rand -hex 24; }
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

if [ ! -e ca.crt ]; then
	openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key
	openssl req -x509 -new -key ca.key -days 3650 -subj "/CN=Continuo on $(uname -n)" -addext keyUsage=critical,keyCertSign,cRLSign -out ca.crt
	shared ca.crt
	rm -f continuo.crt pulsar.crt # of another authority
fi
certificate continuo localhost 127.0.0.1 continuo engine-1 engine-2 scheduler-1 scheduler-2 projector-1 projector-2 gateway-1 gateway-2 "$@"
certificate pulsar localhost 127.0.0.1 pulsar "$@"

# Who may speak to Continuo. Each token is also in a file of its own, as clients want it.
if [ ! -e tokens ]; then
	for name in operator workers prometheus; do
		random | tr -d '\n' >"$name.token"
		echo "$name:$(cat $name.token)" >>tokens
	done
	shared tokens
	shared prometheus.token
fi

# Who may speak to Pulsar: one role, which has all rights there. A token is a JSON Web Token with HS256.
if [ ! -e pulsar-token.key ] || [ ! -e pulsar.token ]; then
	openssl rand -out pulsar-token.key 32
	body="$(printf '{"alg":"HS256"}' | base64url).$(printf '{"sub":"continuo"}' | base64url)"
	key=$(od -An -v -tx1 pulsar-token.key | tr -d ' \n')
	printf '%s.%s' "$body" "$(printf '%s' "$body" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64url)" >pulsar.token
	shared pulsar-token.key
	shared pulsar.token
fi

for name in clickhouse grafana; do
	[ -e $name.password ] || random | tr -d '\n' >$name.password
	shared $name.password
done
echo "Certificates, tokens and passwords are in $PWD"
