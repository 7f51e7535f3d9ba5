#!/usr/bin/env bash
# Ceph's S3 gateway on loopback, with the smallest cluster that it needs: one monitor, one object store.
#
#   rgw.sh start FOLDER PORT    ready in about 20 s; PORT and PORT + 1 are used
#   rgw.sh stop FOLDER          the data stays; remove the folder for a fresh one
#   rgw.sh kill-gateway FOLDER  kill -9 of the gateway alone
#   rgw.sh start-gateway FOLDER starts it again, and waits until it answers (about 1 s)
#
# http://127.0.0.1:PORT, path style, region us-east-1, access key mbkkey, secret mbksecret.
# Packages: install.sh rgw. Runs as any user; the folder is about 200 MB. It holds RGW_GIB gibibytes (6), in a sparse file.
set -euo pipefail

action=${1:?start, stop, kill-gateway or start-gateway}
folder=$(realpath -m "${2:?folder}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/processes.sh"
export CEPH_CONF="$folder/ceph.conf"

write_settings() {
  local port=$1
  cat >"$CEPH_CONF" <<SETTINGS
[global]
fsid = $(cat "$folder/fsid")
mon host = v2:127.0.0.1:$((port + 1))/0
mon initial members = one
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
public network = 127.0.0.0/8
# The gateway never gets past "none": everybody shares one cephx key ring instead.
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = $folder/keyring
mon warn on insecure global id reclaim allowed = false
run dir = $folder/run
admin socket = $folder/run/\$name.asok
log file = $folder/log/\$name.log
log to stderr = false
err to stderr = true
crash dir = $folder/log
pid file =
# One copy, few placement groups: this is no place to keep anything.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
# The monitor judges the disk of the whole machine, which may well be fuller than a cluster likes.
mon data avail warn = 2
mon data avail crit = 1
[mon]
mon data = $folder/mon
mon cluster log file = $folder/log/cluster.log
[osd]
osd data = $folder/osd
osd objectstore = bluestore
bluestore block size = $((${RGW_GIB:-6} * 1024 * 1024 * 1024))
bluestore fsck on mount = false
osd memory target = 939524096
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw data = $folder/rgw
rgw thread pool size = 64
rgw enable usage log = false
rgw enable ops log = false
# Deleted bytes are given back after a minute instead of hours, else the sparse block file fills up.
rgw gc obj min wait = 60
rgw gc processor period = 30
rgw gc processor max time = 30
SETTINGS
}

make_cluster() {
  local port=$1 name
  monmaptool --create --clobber --fsid "$(cat "$folder/fsid")" --addv one "[v2:127.0.0.1:$((port + 1))]" "$folder/monmap"
  ceph-authtool --create-keyring "$folder/keyring" --gen-key -n mon. --cap mon 'allow *'
  for name in client.admin client.rgw osd.0; do
    ceph-authtool "$folder/keyring" --gen-key -n "$name" --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
  done
  ceph-mon --mkfs -i one --monmap "$folder/monmap" --keyring "$folder/keyring"
}

start_gateway() {
  launch rgw radosgw -f -n client.rgw
}

port_in_settings() {
  sed -n 's/^rgw frontends = .*endpoint=127.0.0.1:\([0-9]*\) .*$/\1/p' "$CEPH_CONF"
}

case "$action" in
  start)
    port=${3:?port}
    mkdir -p "$folder"/{run,log}
    if [ ! -f "$folder/complete" ]; then
      rm -rf "$folder"/{mon,osd,rgw,keyring,monmap}
      mkdir -p "$folder"/{mon,osd,rgw}
      cat /proc/sys/kernel/random/uuid >"$folder/fsid"
      write_settings "$port"
      make_cluster "$port" >"$folder/log/make.out" 2>&1
    fi
    write_settings "$port"
    ulimit -n 65536 2>/dev/null || true
    launch mon ceph-mon -f -i one
    if [ ! -f "$folder/complete" ]; then
      disk=$(cat /proc/sys/kernel/random/uuid)
      ceph --connect-timeout 30 osd new "$disk" 0 >>"$folder/log/make.out" 2>&1
      ceph-osd -i 0 --mkfs --osd-uuid "$disk" >>"$folder/log/make.out" 2>&1
    fi
    launch osd ceph-osd -f -i 0
    start_gateway
    if [ ! -f "$folder/complete" ]; then
      radosgw-admin -n client.rgw user create --uid=mediablobkit --display-name=mediablobkit \
        --access-key=mbkkey --secret-key=mbksecret >>"$folder/log/make.out" 2>&1
    fi
    await_answer 90 "http://127.0.0.1:$port/" mon osd rgw
    touch "$folder/complete"
    echo "radosgw answers at http://127.0.0.1:$port after $SECONDS s"
    ;;
  stop) end rgw osd mon ;;
  kill-gateway) kill -9 "$(cat "$folder/run/rgw.pid")" ;;
  start-gateway)
    start_gateway
    await_answer 30 "http://127.0.0.1:$(port_in_settings)/" rgw
    ;;
  *)
    echo "rgw.sh: unknown action '$action'" >&2
    exit 2
    ;;
esac
