# The parts of the cluster, for `run`: volumes, nodes, the balancer, the client. The number of a node is also that of its
# address, 127.0.0.N. All of a node is in one volume, but its gcache, which has to outlive that: $place/gcache/N.

BALANCER=127.0.0.10
APP=(--user=app --password=of-the-shop --connect-timeout=2)

step() { printf '%s %s\n' "$(date +%T)" "$*"; }
fail() { printf 'examples/galera: %s\n' "$*" >&2; exit 1; }

address() { echo "127.0.0.$1"; }
data() { echo "$place/node/$1/mysql"; }
socket() { echo "$place/run/$1/mysqld.sock"; }
conf() { echo "$place/conf/$1.cnf"; }
log() { echo "$place/log/node$1.err"; }
# A statement on a node, as root, by its socket; on the cluster, as the application, by the balancer.
on() { local node=$1; shift; mariadb --defaults-file="$(conf "$node")" --user=root --socket="$(socket "$node")" -BNe "$*"; }
through() { mariadb --no-defaults --host="$BALANCER" "${APP[@]}" -BNe "$*"; }
status() { on "$1" "SELECT variable_value FROM information_schema.global_status WHERE variable_name='$2'"; }

# Waits until a command does well, at most so many seconds.
within() {
  local end=$((SECONDS + $1)) what=$2; shift 2
  until "$@" 2> /dev/null; do
    [ $SECONDS -lt $end ] || fail "$what: not within the time"
    sleep 0.1
  done
}

prepare() {
  mount --make-rprivate /
  ip link set lo up
  mkdir -p "$place"/{images,node,run,conf,log,gcache}
  chmod 711 "$place" "$place"/{node,run,gcache,log}
  chown mysql "$place/log"
  # XFS, for a copy of a moment is a reflink there.
  truncate -s 8G "$place/disk.xfs"
  mkfs.xfs -q "$place/disk.xfs"
  mount -o loop "$place/disk.xfs" "$place/images"
  mkdir "$place/images/snapshot"
}

# A node's volume: an image with ext4 on it, mounted.
volume() {
  local node=$1 kind=$2
  local image=$place/images/node$node.$kind
  echo "$kind" > "$place/conf/$node.kind"
  case $kind in
    raw) truncate -s 2G "$image" ;;
    qcow2) qemu-img create -q -f qcow2 "$image" 2G ;;
  esac
  expose "$node"
  mkfs.ext4 -q "$(disk "$node")"
  mount_volume "$node"
  install -d -o mysql "$(data "$node")"
}

disk() {
  case $(cat "$place/conf/$1.kind") in
    raw) echo "$place/images/node$1.raw" ;;
    qcow2) echo "$place/run/$1.disk" ;;
  esac
}

# What is in a qcow2 file is a raw one by FUSE.
expose() {
  local node=$1 kind
  kind=$(cat "$place/conf/$node.kind")
  install -d -o mysql "$place/run/$node" "$place/gcache/$node"
  [ "$kind" = qcow2 ] || return 0
  touch "$place/run/$node.disk"
  qemu-storage-daemon --daemonize --pidfile "$place/run/$node.qsd" \
    --blockdev driver=file,node-name=file,filename="$place/images/node$node.qcow2" \
    --blockdev driver=qcow2,node-name=disk,file=file \
    --export type=fuse,id=disk,node-name=disk,mountpoint="$place/run/$node.disk",writable=on,growable=off
}

mount_volume() {
  mkdir -p "$place/node/$1"
  mount -o loop "$(disk "$1")" "$place/node/$1"
}

options() {
  printf '%s;' "gmcast.listen_addr=tcp://$(address "$1"):4567" "ist.recv_addr=$(address "$1"):4568" \
    "gcache.dir=$place/gcache/$1" "gcache.size=$GCACHE"
}

configure() {
  local node=$1
  cat > "$(conf "$node")" << END
[mysqld]
user = mysql
bind-address = $(address "$node")
port = 3306
datadir = $(data "$node")
socket = $(socket "$node")
pid-file = $place/run/$node/mysqld.pid
log-error = $(log "$node")
skip-name-resolve
binlog_format = ROW
default_storage_engine = InnoDB
innodb_autoinc_lock_mode = 2
innodb_flush_log_at_trx_commit = 0
innodb_flush_method = O_DIRECT
innodb_file_per_table = 1
innodb_buffer_pool_size = 64M
innodb_log_file_size = 32M
max_allowed_packet = 16M
wsrep_on = ON
wsrep_provider = /usr/lib/galera/libgalera_smm.so
wsrep_cluster_name = shop
wsrep_cluster_address = gcomm://127.0.0.1,127.0.0.2,127.0.0.3
wsrep_node_name = node$node
wsrep_node_address = $(address "$node")
wsrep_sst_method = rsync
wsrep_sst_receive_address = $(address "$node"):4444
wsrep_provider_options = "$(options "$node")"
END
}

# Starts a node; more words are options.
start() {
  local node=$1; shift
  configure "$node"
  mariadbd --defaults-file="$(conf "$node")" "$@" > /dev/null 2>&1 &
  echo $! > "$place/run/$node.pid"
}

is_synced() { [ "$(status "$1" wsrep_local_state)" = 4 ] && [ "$(status "$1" wsrep_ready)" = ON ]; }

bootstrap() {
  configure "$1"
  mariadb-install-db --defaults-file="$(conf "$1")" --user=mysql --skip-test-db > "$place/log/install" 2>&1
  start "$1" --wsrep-new-cluster
  within 60 "node $1 begins the cluster" is_synced "$1"
}

join() {
  start "$1"
  within 120 "node $1 joins" is_synced "$1"
}

users() {
  on 1 "CREATE DATABASE shop;
    CREATE USER 'app'@'127.%' IDENTIFIED BY 'of-the-shop'; GRANT ALL ON shop.* TO 'app'@'127.%';
    CREATE TABLE shop.orders (number BIGINT PRIMARY KEY, body TEXT NOT NULL, sum CHAR(64) NOT NULL);
    CREATE TABLE shop.goods (id BIGINT AUTO_INCREMENT PRIMARY KEY, body BLOB NOT NULL)"
}

# So many MiB, in transactions of one each.
fill() {
  local count
  for ((count = 0; count < $1; count++)); do
    echo 'INSERT INTO shop.goods (body) SELECT RANDOM_BYTES(1024) FROM seq_1_to_1000;'
  done | mariadb --no-defaults --host="$BALANCER" "${APP[@]}" shop
}

# The balancer: asks each node's responder twice a second whether it takes statements.
balance() {
  local node
  for node in 1 2 3; do
    socat "TCP-LISTEN:9200,bind=$(address $node),fork,reuseaddr" \
      "EXEC:$here/answer $(conf $node) $(socket $node)" 2> "$place/log/answer$node" &
  done
  {
    cat << END
global
  stats socket $place/run/haproxy.sock mode 600
defaults
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
listen cluster
  bind $BALANCER:3306
  balance roundrobin
  option httpchk
  default-server port 9200 inter 500 fall 2 rise 2 on-marked-down shutdown-sessions
END
    for node in 1 2 3; do echo "  server node$node $(address $node):3306 check"; done
  } > "$place/conf/haproxy.cfg"
  haproxy -f "$place/conf/haproxy.cfg" -db > "$place/log/haproxy" 2>&1 &
  within 30 'the balancer sees three nodes' has_servers 3
}

has_servers() {
  local up
  up=$(echo 'show stat' | socat - "UNIX-CONNECT:$place/run/haproxy.sock" | grep '^cluster,node' | cut -d, -f18 |
    grep -c '^UP')
  [ "$up" = "$1" ]
}

# Each node answers by the balancer, and what one was told another one says.
is_balanced() {
  local seen
  seen=$(for _ in 1 2 3; do through 'SELECT @@wsrep_node_name'; done | sort | tr '\n' ' ')
  [ "$seen" = 'node1 node2 node3 ' ] || fail "the balancer leads to: $seen"
}

# The test application: a page that says who answered, and what there is.
application() {
  socat "TCP-LISTEN:8080,bind=$BALANCER,fork,reuseaddr" "EXEC:$here/page $BALANCER ${APP[*]}" 2> "$place/log/page" &
  within 10 'the page' page_is_there
}

page_is_there() { curl -sf "http://$BALANCER:8080/" > "$place/page.html" && grep -q 'orders' "$place/page.html"; }

client_begins() {
  rm -f "$place/stop"
  "$here/client" "$place/acked" "$place/stop" "$BALANCER" "${APP[@]}" &
  client=$!
}

client_ends() {
  touch "$place/stop"
  wait "$client"
}

# The job of every night: the volume of node 3.
configure_nightly() {
  cat > "$place/nightly.toml" << END
[job.volume]
repository = "$place/repo"
archive = "volume-{now:%Y-%m-%dT%H:%M:%S}"
paths = ["$place/images/snapshot/node3.qcow2"]
keep.daily = 7
hooks.freeze = "$here/hold freeze $(conf 3) $(socket 3) $place/node/3"
hooks.snapshot = "cp --reflink=always $place/images/node3.qcow2 $place/images/snapshot/node3.qcow2"
hooks.thaw = "$here/hold thaw $(conf 3) $(socket 3) $place/node/3"
hooks.cleanup = "rm -f $place/images/snapshot/node3.qcow2"
END
}

crash() {
  local node=$1
  kill -9 "$(cat "$place/run/$node.pid")"
  wait "$(cat "$place/run/$node.pid")" 2> /dev/null || true
  umount "$place/node/$node"
  rm -f "$place/images/node$node".*
}

# Brings a node to where its files are: what grastate.dat says may be ahead of them, and gvwstate.dat is of who wrote it.
recover() {
  local node=$1 position
  rm -f "$(data "$node")/gvwstate.dat"
  sed -i 's/^seqno:.*/seqno: -1/; s/^safe_to_bootstrap:.*/safe_to_bootstrap: 0/' "$(data "$node")/grastate.dat"
  configure "$node"
  rm -f "$(log "$node")"
  mariadbd --defaults-file="$(conf "$node")" --wsrep-recover > "$place/log/recover$node" 2>&1 || true
  position=$(sed -n 's/.*WSREP: Recovered position: *//p' "$(log "$node")" | tail -n 1)
  [ -n "$position" ] || fail "node $node: no position was recovered"
  echo "$position" > "$place/run/$node.position"
}

# Starts a node, which comes by what it missed alone: a whole copy of another node is a failure here.
joined_by_ist() {
  start "$1" --wsrep-start-position="$(cat "$place/run/$1.position")"
  within 120 "node $1 comes back" is_synced "$1"
  grep -q 'rsync IST completed on joiner' "$(log "$1")" && grep -q 'Receiving IST: ' "$(log "$1")" ||
    fail "node $1 came back by a whole copy of another one: gcache is too small for what it missed"
  sed -n 's/.*WSREP: \(Receiving IST: [0-9]* writesets, seqnos [-0-9]*\).*/         \1/p' "$(log "$1")" | tail -n 1
}

took() { step "$1: $(awk -v a="$2" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }')"; }

# Every acknowledged order is on every node, byte for byte, and the nodes agree on all the rest.
compare() {
  local node
  step 'every acknowledged row on every node'
  cut -d' ' -f1,4 "$place/acked" | sort > "$place/want"
  for node in 1 2 3; do
    within 30 "node $node has all" has_all "$node"
    on "$node" 'CHECKSUM TABLE shop.orders, shop.goods' > "$place/sums.$node"
    cmp "$place/sums.1" "$place/sums.$node" || fail "nodes 1 and $node do not agree"
  done
}

has_all() {
  on "$1" "SELECT number, SHA2(body, 256) FROM shop.orders" | tr '\t' ' ' | sort > "$place/have.$1"
  [ -z "$(comm -23 "$place/want" "$place/have.$1")" ]
}

report() {
  awk '{ if (NR > 1 && $3 - last > longest) longest = $3 - last; last = $3 }
    END { printf "orders acknowledged: %d; the longest pause: %.1f s\n", NR, longest }' "$place/acked"
}
