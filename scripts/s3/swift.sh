#!/usr/bin/env bash
# OpenStack Swift with its S3 middleware on loopback: one device, one replica.
#
#   swift.sh start FOLDER PORT   ready in 8 to 26 s; PORT to PORT + 4 are used
#   swift.sh stop FOLDER         the data stays; remove the folder for a fresh one
#
# http://127.0.0.1:PORT, path style, region us-east-1, access key mbk:tester, secret testing.
# Packages: install.sh swift. Runs as any user; the folder needs a file system with user xattrs of 4 kB.
set -euo pipefail

action=${1:?start or stop}
folder=$(realpath -m "${2:?folder}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/processes.sh"
servers=(memcached account container object updater proxy)

common() {
  cat <<SETTINGS
swift_dir = $folder/etc
bind_ip = 127.0.0.1
bind_port = $1
workers = 1
user = $(id -un)
log_level = WARNING
# No syslog here: with an empty host the servers log to their standard output.
log_udp_host =
backlog = 4096
SETTINGS
}

# storage_server KIND PORT, further [DEFAULT] lines from standard input
storage_server() {
  cat >"$folder/etc/$1-server.conf" <<SETTINGS
[DEFAULT]
$(common "$2")
devices = $folder/devices
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
recon_cache_path = $folder/cache
$(cat)
[pipeline:main]
pipeline = $1-server
[app:$1-server]
use = egg:swift#$1
mount_check = false
SETTINGS
}

write_settings() {
  local port=$1
  cat >"$folder/etc/swift.conf" <<SETTINGS
[swift-hash]
swift_hash_path_prefix = mediablobkit
swift_hash_path_suffix = tests
[storage-policy:0]
name = single
default = yes
[swift-constraints]
max_header_size = 16384
SETTINGS

  storage_server account $((port + 1)) </dev/null
  echo 'conn_timeout = 5' | storage_server container $((port + 2))
  # Listings follow a put at once only while the object server waits for the container's answer; with the
  # default of 1 s a busy machine leaves it to the updater, and a list right after a put misses blobs.
  printf 'container_update_timeout = 30\nconn_timeout = 5\nclient_timeout = 60\nnode_timeout = 60\n' |
    storage_server object $((port + 3))
  printf '[object-updater]\ninterval = 60\nconn_timeout = 5\nnode_timeout = 30\n' >>"$folder/etc/object-server.conf"

  printf '[memcache]\nmemcache_servers = 127.0.0.1:%s\n' $((port + 4)) >"$folder/etc/memcache.conf"
  cat >"$folder/etc/proxy-server.conf" <<SETTINGS
[DEFAULT]
$(common "$port")
client_timeout = 60
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo dlo symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
conn_timeout = 5
node_timeout = 60
recoverable_node_timeout = 60
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:$((port + 4))
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
dns_compliant_bucket_names = true
# S3 has 10,000 parts, Swift's default is 1,000 (and the same for the segments of a large object, below).
max_upload_part_num = 10000
multi_delete_concurrency = 8
cors_preflight_allow_origin = *
[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
max_manifest_size = 16777216
rate_limit_after_segment = 10000
[filter:tempauth]
use = egg:swift#tempauth
user_mbk_tester = testing .admin
$(for filter in catch_errors gatekeeper healthcheck listing_formats bulk copy dlo symlink; do
    printf '[filter:%s]\nuse = egg:swift#%s\n' "$filter" "$filter"
  done)
SETTINGS
}

# A ring tells which device holds what: here always the only one. 2^4 partitions, 1 replica, no wait between moves.
make_ring() {
  [ -f "$folder/etc/$1.ring.gz" ] && return
  (
    cd "$folder/etc"
    rm -f "$1.builder"
    swift-ring-builder "$1.builder" create 4 1 1
    swift-ring-builder "$1.builder" add "r1z1-127.0.0.1:$2/disk" 1
    swift-ring-builder "$1.builder" rebalance
  ) >"$folder/log/ring-$1.out"
}

case "$action" in
  start)
    port=${3:?port}
    # Its servers share a port with others that already listen there (SO_REUSEPORT), and each gets half of the requests.
    for offset in 0 1 2 3 4; do
      if (: <"/dev/tcp/127.0.0.1/$((port + offset))") 2>/dev/null; then
        echo "swift.sh: somebody listens on port $((port + offset)) already" >&2
        exit 1
      fi
    done
    mkdir -p "$folder"/{etc,run,log,cache,devices/disk}
    write_settings "$port"
    make_ring account $((port + 1))
    make_ring container $((port + 2))
    make_ring object $((port + 3))
    launch memcached memcached -u "$(id -un)" -l 127.0.0.1 -p $((port + 4)) -U 0 -m 64
    for kind in account container object; do
      launch "$kind" "swift-$kind-server" "$folder/etc/$kind-server.conf" -v
    done
    launch updater swift-object-updater "$folder/etc/object-server.conf" -v
    launch proxy swift-proxy-server "$folder/etc/proxy-server.conf" -v
    for offset in 1 2 3; do await_answer 60 "http://127.0.0.1:$((port + offset))/" "${servers[@]}"; done
    await_answer 60 "http://127.0.0.1:$port/healthcheck" "${servers[@]}"
    echo "swift answers at http://127.0.0.1:$port after $SECONDS s"
    ;;
  stop) end proxy updater object container account memcached ;;
  *)
    echo "swift.sh: unknown action '$action'" >&2
    exit 2
    ;;
esac
