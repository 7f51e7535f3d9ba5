#!/usr/bin/env bash
# Installs the S3 servers that the long tests run against, from Debian 12's own packages. Needs root.
#   install.sh [rgw] [swift]     (both when none is named)
set -euo pipefail

wanted=(curl)
for server in "${@:-rgw swift}"; do
  for name in $server; do
    case "$name" in
      rgw) wanted+=(ceph-mon ceph-osd radosgw) ;;
      swift) wanted+=(swift-proxy swift-account swift-container swift-object memcached) ;;
      *) echo "install.sh: unknown server '$name' (rgw, swift)" >&2; exit 2 ;;
    esac
  done
done
exec bash "$(dirname "${BASH_SOURCE[0]}")/../debian.sh" "${wanted[@]}"
