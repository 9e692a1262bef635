#!/usr/bin/env bash
# Installs what the tests talk to: Debian packages and the npm packages of internal/testenv/npm (into build/npm).
# Debian packages need root on Debian; elsewhere nothing is installed and the tests that need a peer skip, unless
# SALLYPORT_TEST_REQUIRE names it. Packaged services are kept from starting: the tests run their own, on their own ports.
set -euo pipefail
cd "$(dirname "$0")/.."

# package:file, where the file (or one that fits the pattern) tells that it is there already, however it came.
wanted=(
  slapd:/usr/sbin/slapd
  ldap-utils:/usr/bin/ldapsearch
  nginx:/usr/sbin/nginx
  caddy:/usr/bin/caddy
  chromium:/usr/bin/chromium
  python3-jwt:/usr/lib/python3/dist-packages/jwt
  python3-cryptography:/usr/lib/python3/dist-packages/cryptography
  gcc:/usr/bin/gcc
  libc6-dev:/usr/include/stdlib.h
  simplesamlphp:/usr/share/simplesamlphp/www/index.php
  php-cli:/usr/bin/php
  # PHP's modules lie in folders named by its version. SimpleSAMLphp needs these two and does not depend on them.
  php-xml:/var/lib/dpkg/info/php-xml.list
  php-mbstring:/var/lib/dpkg/info/php-mbstring.list
  xmlsec1:/usr/bin/xmlsec1
  # The server lies in a folder named by its version, beside the client that comes with it.
  'postgresql:/usr/lib/postgresql/*/bin/postgres'
)
command -v node >/dev/null || wanted+=(nodejs:/usr/bin/node)
command -v npm >/dev/null || wanted+=(npm:/usr/bin/npm)

missing=()
for w in "${wanted[@]}"; do
  compgen -G "${w#*:}" >/dev/null || missing+=("${w%%:*}")
done

policy=/usr/sbin/policy-rc.d
install_debian() {
  # Debian starts a service when its package arrives, unless this file says no. One that is there already stays.
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" >/dev/null
}

if [ ${#missing[@]} -eq 0 ]; then
  echo "peers: all Debian packages are here"
elif [ "$(id -u)" -eq 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null; then
  echo "peers: installing ${missing[*]}"
  install_debian "${missing[@]}" || echo "peers: apt-get failed; the tests that need ${missing[*]} will tell" >&2
else
  echo "peers: nothing is installed (not root, or not Debian); absent: ${missing[*]}"
fi

# The npm part needs no root. A stamp saves the second run.
lock=internal/testenv/npm/package-lock.json
if [ ! -e "$lock" ]; then
  exit 0
elif ! command -v npm >/dev/null; then
  echo "peers: npm is absent, so are its peers"
elif cmp -s "$lock" build/npm/package-lock.json && [ -e build/npm/.complete ]; then
  echo "peers: all npm packages are here"
else
  echo "peers: npm ci into build/npm"
  mkdir -p build/npm
  rm -f build/npm/.complete
  cp internal/testenv/npm/package.json "$lock" build/npm/
  if npm ci --prefix build/npm --ignore-scripts --no-audit --no-fund --loglevel=error; then
    touch build/npm/.complete
  else
    echo "peers: npm ci failed; the tests that need its packages will tell" >&2
  fi
fi
