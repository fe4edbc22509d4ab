# What `run` is made of: the blocks of the page, waiting, the client, comparing, measuring. The number of a node is also that of its
# address, 127.0.0.N.

document=$here/../../docs/database-cluster.md
[ -e "$document" ] || document=$here/database-cluster.md
[ -e "$document" ] || document=/usr/share/doc/garret/database-cluster.md

step() { printf '%s %s\n' "$(date +%T)" "$*"; }
fail() { printf 'examples/galera: %s\n' "$*" >&2; exit 1; }

# The lines of a block of the page, by its name.
block() {
  awk -v name="$1" '$1 ~ /^```/ { on = $1 != "```" && $2 == name; found = found || on; next } on { print }
    END { exit !found }' "$document" || fail "there is no block $1 in $document"
}

# Runs a block, for a node if one is given. What it prints is in /srv/commands.
runs() {
  block "$1" > "/srv/blocks/$1"
  echo "== $1 ${2-}" >> /srv/commands
  N=${2-} bash -euo pipefail "/srv/blocks/$1" < /dev/null >> /srv/commands 2>&1
}

# Makes a file of a block.
writes() { block "$1" | sed "s/\$N/${3-}/g" > "$2" && touch "/srv/blocks/$1"; }

all_of_the_page_was_run() {
  local name
  for name in $(sed -n 's/^```[a-z]* \([^ ]*\)$/\1/p' "$document"); do
    [ "$name" = packages ] || [ -e "/srv/blocks/$name" ] || fail "$name is in the page and was not run"
  done
}

# A statement on a node, as root, by its socket; on the cluster, as the application, by the balancer.
sql() { mariadb --defaults-file="/srv/conf/$1.cnf" -BNe "$2"; }
through() { mariadb --defaults-file=/srv/conf/app.cnf -BNe "$1"; }
status() { sql "$1" "SELECT variable_value FROM information_schema.global_status WHERE variable_name='$2'"; }
is_synced() { [ "$(status "$1" wsrep_local_state)" = 4 ] && [ "$(status "$1" wsrep_ready)" = ON ]; }
balancer() { echo "$*" | socat - UNIX-CONNECT:/srv/run/haproxy.sock | sed "/^$/d"; }
has_servers() { [ "$(balancer show stat | grep '^cluster,node' | cut -d, -f18 | grep -c '^UP')" = "$1" ]; }
has_nodes() { [ "$(status 3 wsrep_cluster_size)" = "$1" ]; }

# Waits until a command does well, at most so many seconds.
within() {
  local end=$((SECONDS + $1)) what=$2; shift 2
  until "$@" 2> /dev/null; do
    [ $SECONDS -lt $end ] || fail "$what: not within the time"
    sleep 0.1
  done
}

# Does something, and notes in /srv/times when.
timed() {
  local what=$1 begins=$EPOCHREALTIME; shift
  step "$what"
  "$@"
  printf '%s\t%s\t%s\n' "$what" "$begins" "$EPOCHREALTIME" >> /srv/times
}

# What is there before the first block is run.
enter() {
  mount -t proc proc /proc
  ip link set lo up
  cd /srv
  mkdir blocks conf log node run gcache binlog
  chmod 711 /srv
  export PATH=/srv/bin:$PATH GARRET_STATE_DIR=/srv/state GARRET_CACHE_DIR=/srv/cache
  unset GARRET_REPO GARRET_PASSPHRASE
  for N in 1 2 3 4; do notes_states "$N" & done
}

node_is_configured() {
  runs directories "$1"
  writes my.cnf "/srv/conf/$1.cnf" "$1"
}

# So many MB of rows, in transactions of one each.
filled=0
fill() {
  local count
  filled=$((filled + 1000 * $1))
  for ((count = 0; count < $1; count++)); do
    echo 'INSERT INTO shop.goods (body) SELECT RANDOM_BYTES(1024) FROM seq_1_to_1000;'
  done | mariadb --defaults-file=/srv/conf/app.cnf shop
}

# A day: the tables get longer by so many MB, and for each of these rows in 16 places change.
day() {
  local count most
  fill "$1"
  most=$(through 'SELECT MAX(id) FROM shop.goods')
  for ((count = 0; count < 16 * $1; count++)); do
    echo "UPDATE shop.goods SET body = RANDOM_BYTES(1024) WHERE id >= $((SRANDOM % most)) ORDER BY id LIMIT 5;"
  done | mariadb --defaults-file=/srv/conf/app.cnf shop
}

client_begins() {
  rm -f /srv/stop
  /srv/bin/client /srv/acked /srv/stop &
  client=$!
}

client_ends() {
  touch /srv/stop
  wait "$client"
}

is_gone() { ! kill -0 "$1"; }
is_unmounted() { ! mountpoint -q "$1"; }

crash() {
  local node=$1 pid
  pid=$(cat "/srv/run/$node/mysqld.pid")
  kill -9 "$pid"
  within 60 "node $node is gone" is_gone "$pid"
  umount "/srv/node/$node"
  if [ -e "/srv/node$node.pid" ]; then
    kill "$(cat "/srv/node$node.pid")"
    within 60 "the disk of node $node is gone" is_unmounted "/srv/node$node.disk"
    rm -f "/srv/node$node.pid"
  fi
  rm -f "/srv/images/node$node".* "/srv/run/$node/mysqld.pid"
}

has_acknowledged() { [ "$(wc -l < /srv/acked)" -ge "$1" ]; }

# A node dies, and the client goes on.
dies() {
  local size count
  size=$(status 3 wsrep_cluster_size)
  crash "$1"
  within 60 "the cluster goes on without node $1" has_nodes $((size - 1))
  count=$(wc -l < /srv/acked)
  within 60 'the client goes on' has_acknowledged $((count + 2))
}

# The orders that have to be there: those that were acknowledged before a moment, in seconds, and those that were sent after
# another.
wanted() {
  awk -v until="$1" -v from="$2" '$3 < until || $2 > from { print $1, $4 }' /srv/acked | sort > /srv/want
  [ -s /srv/want ] || fail 'no order was acknowledged'
}

# Called where a failure does not end the script: each step says itself that it failed.
has_all() {
  sql "$1" 'SELECT number, SHA2(body, 256) FROM shop.orders' > "/srv/rows.$1" || return 1
  tr '\t' ' ' < "/srv/rows.$1" | sort > "/srv/have.$1" || return 1
  comm -23 /srv/want "/srv/have.$1" > "/srv/lost.$1" || return 1
  [ ! -s "/srv/lost.$1" ]
}

# All that is wanted is on each of these nodes, byte for byte, and they agree on all the rest.
compare() {
  local node
  for node in "$@"; do within 30 "node $node has all" has_all "$node"; done
  within 30 "nodes $* agree" agree "$@"
  step "every acknowledged order, $(wc -l < /srv/want), on nodes $*"
}

# Not while somebody writes: the checksums are of one moment each.
agree() {
  local node
  for node in "$@"; do
    sql "$node" 'SET SESSION wsrep_sync_wait = 1; CHECKSUM TABLE shop.orders, shop.goods' > "/srv/sums.$node" || return 1
    [ "$(awk '$2 ~ /^[0-9]+$/' "/srv/sums.$node" | wc -l)" = 2 ] || return 1
    cmp -s "/srv/sums.$1" "/srv/sums.$node" || return 1
    [ "$(sql "$node" 'SELECT COUNT(*) FROM shop.goods')" = "$filled" ] || return 1
  done
}

# The state of a node, ten times a second, for as long as all of this lasts.
notes_states() {
  while :; do
    while echo "SELECT UNIX_TIMESTAMP(NOW(3)), variable_value FROM information_schema.global_status
      WHERE variable_name = 'wsrep_local_state';" && sleep 0.1; do :; done |
      mariadb --defaults-file="/srv/conf/$1.cnf" -BN --unbuffered >> "/srv/states.$1" 2> /dev/null || true
    sleep 0.2
  done
}

# How long each step took, how long the client was made to wait in it, and how long which node took no statements because it
# was held or gave a copy.
report() {
  printf '%-32s %8s %8s  %s\n' '' took pause aside
  awk -F '\t' '
    function named(file) { sub(/.*\./, "node ", file); return file }
    FILENAME ~ /times/ { name[++steps] = $1; begin[steps] = $2; end[steps] = $3; next }
    { split($0, word, /[ \t]/) }
    FILENAME ~ /acked/ {
      at = word[3]
      # A pause is that of the step in which most of it was.
      most = 0
      for (i = 1; i <= steps; i++) {
        part = (at < end[i] ? at : end[i]) - (last > begin[i] ? last : begin[i])
        if (last && part > most) { most = part; its = i }
      }
      if (most && at - last > pause[its]) pause[its] = at - last
      last = at
      next
    }
    { for (i = steps; i > 0 && word[1] < begin[i]; i--); if (i && (word[2] == 2 || word[2] == 3)) aside[i, named(FILENAME)] += 0.1 }
    END {
      for (i = 1; i <= steps; i++) {
        line = ""
        for (n = 1; n <= 4; n++) if (aside[i, "node " n] > 0.2) line = line sprintf("  node %d %.1f s", n, aside[i, "node " n])
        printf "%-32s %6.1f s %6.1f s%s\n", name[i], end[i] - begin[i], pause[i], line
      }
    }' /srv/times /srv/acked /srv/states.*
  echo "orders acknowledged: $(wc -l < /srv/acked)"
  garret list --long /srv/backup
}

# What chunks of a database cost: the pages that changed between the two nights, and what each size of chunks stored of the
# second one.
chunks() {
  local size first second names name
  step 'the two images again, in chunks of other sizes'
  mapfile -t names < <(garret list --short /srv/backup | grep '^volume')
  first=${names[0]} second=${names[1]}
  for name in "$first" "$second"; do
    garret extract --as raw -o "/srv/images/$name.raw" "/srv/backup::$name" node3.img
  done
  { cmp -l "/srv/images/$first.raw" "/srv/images/$second.raw" || true; } |
    awk '{ page = int(($1 - 1) / 4096); if (page != last) count++; last = page }
      END { printf "pages of 4 KiB that changed: %d, %.1f MB\n", count, count * 4096 / 1e6 }'
  for size in 16k 32k 64k; do
    garret init --encryption none --chunk "$size" "/srv/backup.$size" > /dev/null 2>&1
    for name in "$first" "$second"; do
      garret create --json "/srv/backup.$size::$name" "/srv/images/$name.raw" > /srv/created
    done
    awk -v size="$size" -F '[:,]' '/"new_size"/ { new = $2 } /"stored_size"/ && !stored { stored = $2 }
      END { printf "chunks of %s: %.1f MB of them are new, %.1f MB as stored\n", size, new / 1e6, stored / 1e6 }' /srv/created
  done
}
