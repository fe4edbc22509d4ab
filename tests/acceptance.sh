#!/usr/bin/env bash
# acceptance.sh GARRET IMAGES WORK [STEP...]   the core's acceptance on real guest images, as a user would run it
#
# All steps take about 25 minutes; STEP is one or more of: nights pipes exact prune memory limits guests.
# GARRET is a release build of the program. IMAGES holds n1 n2 n3, three nights of guests app and mail as NAME.qcow2 and
# sparse NAME.raw of 8 GiB. WORK is a directory for repositories and restored files (25 GB free); it is emptied at the end.
# Prints a line for every thing checked and figures beside their yardstick; stops at the first thing that does not hold.
# Needs: zstd, b3sum, borg, restic, qemu-img, jq, GNU time, and as root nothing more.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
GARRET=$(realpath "$1"); IMAGES=$(realpath "$2"); WORK=$(mkdir -p "$3" && realpath "$3")
export GARRET_CACHE_DIR=$WORK/cache GARRET_KEYS_DIR=$WORK/keys GARRET_PASSPHRASE=acceptance
export BORG_BASE_DIR=$WORK/borg-base BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
HERE=$(realpath "$(dirname "$0")")

say() { printf '%-58s %s\n' "$1" "$2"; }
fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }
allocated() { du -k "$1" | cut -f1; }
holes() { python3 "$HERE/holes.py" "$1"; }
size() { du -sk "$1/packs" "$1/index" "$1/backups" "$1/keys" | awk '{s+=$1} END {print s}'; }
warm() { cat "$@" >/dev/null; }
seconds() { local s; s=$(date +%s%N); "$@" >/dev/null; echo "$s $(date +%s%N)" | awk '{printf "%.2f", ($2-$1)/1e9}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f", a/b}'; }

same() { # same ORIGINAL RESTORED: bytes, and no more space than the original
  cmp "$1" "$2" || fail "$2 differs from $1"
  awk -v a="$(allocated "$2")" -v b="$(allocated "$1")" 'BEGIN {exit !(a <= 1.01*b)}' || fail "$2 takes more space than $1"
}

nights() { # nights MODE CODEC: all images of three nights into one repository, all of them back
  local repo=$WORK/repo out=$WORK/out night image
  rm -rf "$repo" "$out"; "$GARRET" init -e "$1" "$repo" >/dev/null
  for night in 1 2 3; do
    (cd "$IMAGES/n$night" && "$GARRET" create --compression "$2" "$repo::n$night" app.raw app.qcow2 mail.raw mail.qcow2)
  done
  for night in 1 2 3; do
    "$GARRET" extract --destination "$out" "$repo::n$night"
    for image in app.raw app.qcow2 mail.raw mail.qcow2; do same "$IMAGES/n$night/$image" "$out/$image"; done
    rm -rf "$out"
  done
  say "three nights, $1, $2: 12 images byte for byte, sparse" "$(size "$repo") KiB"
}

pipes() { # pipes MODE: from stdin, to stdout
  local repo=$WORK/repo
  rm -rf "$repo"; "$GARRET" init -e "$1" "$repo" >/dev/null
  "$GARRET" create --stdin-name disk.img "$repo::pipe" - <"$IMAGES/n1/app.qcow2"
  "$GARRET" extract --stdout "$repo::pipe" | cmp - "$IMAGES/n1/app.qcow2" || fail "stdin to stdout, $1"
  say "stdin to stdout, $1" same
}

exact() {
  local repo=$WORK/repo out=$WORK/out
  rm -rf "$repo" "$out"; "$GARRET" init "$repo" >/dev/null
  (cd "$IMAGES/n1" && "$GARRET" create "$repo::n1" app.raw)
  "$GARRET" extract --allocation exact --destination "$out" "$repo::n1"
  same "$IMAGES/n1/app.raw" "$out/app.raw"
  [ "$(holes "$IMAGES/n1/app.raw")" = "$(holes "$out/app.raw")" ] || fail "exact: another map of holes"
  say "--allocation exact: map of holes" "$(holes "$out/app.raw")"; rm -rf "$out"
}

prune() {
  local repo=$WORK/repo fresh=$WORK/fresh out=$WORK/out
  rm -rf "$repo" "$fresh" "$out"; "$GARRET" init "$repo" >/dev/null; "$GARRET" init "$fresh" >/dev/null
  for night in 1 2 3; do (cd "$IMAGES/n$night" && "$GARRET" create "$repo::n$night" app.raw mail.raw); done
  (cd "$IMAGES/n3" && "$GARRET" create "$fresh::n3" app.raw mail.raw)
  "$GARRET" prune --keep-daily 1 "$repo"
  [ "$("$GARRET" list "$repo" | wc -l)" = 1 ] || fail "prune kept more than one archive"
  say "prune --keep-daily 1: repository against a fresh one" "$(size "$repo") / $(size "$fresh") KiB = $(ratio "$(size "$repo")" "$(size "$fresh")")"
  awk -v a="$(size "$repo")" -v b="$(size "$fresh")" 'BEGIN {exit !(a <= 1.05*b)}' || fail "prune left too much"
  "$GARRET" check --verify-data "$repo" >/dev/null || fail "check after prune"
  rm -rf "$GARRET_CACHE_DIR" "$repo/index"
  "$GARRET" extract --destination "$out" "$repo::n3"
  same "$IMAGES/n3/app.raw" "$out/app.raw"; same "$IMAGES/n3/mail.raw" "$out/mail.raw"; rm -rf "$out"
  (cd "$IMAGES/n3" && "$GARRET" create "$repo::again" app.raw mail.raw) && "$GARRET" check "$repo" >/dev/null
  say "kept archive back without local copy and index directory" same
}

memory() {
  local repo=$WORK/repo out=$WORK/out
  rm -rf "$repo" "$out"; "$GARRET" init "$repo" >/dev/null
  say "peak memory, create of an 8 GiB image" "$(/usr/bin/time -f '%M KiB' "$GARRET" create "$repo::a" "$IMAGES/n1/app.raw" 2>&1)"
  say "peak memory, extract of it" "$(/usr/bin/time -f '%M KiB' "$GARRET" extract --destination "$out" "$repo::a" 2>&1)"
  rm -rf "$out"
}

declare -A times
clock() { # clock WHAT COMMAND...: the seconds it takes, when the disk has nothing else to do
  local what=$1 s; shift; sync; s=$(seconds "$@"); times[$what]+="$s "
}
median() { tr ' ' '\n' <<<"$1" | grep . | sort -n | awk '{a[NR]=$1} END {print a[int((NR+1)/2)]}'; }
row() { # row WHAT YARDSTICK: medians and their ratio, all runs in brackets
  local a b; a=$(median "${times[$1]}"); b=$(median "${times[$2]}")
  printf '| %s | %s (%s) | %s | %s (%s) | %s |\n' "$1" "$a" "${times[$1]% }" "$2" "$b" "${times[$2]% }" "$(ratio "$a" "$b")"
}

limits() { # five rounds of each step beside what limits it: the table of docs/benchmarks.md
  local repo=$WORK/repo secret=$WORK/secret out=$WORK/out round images=("$IMAGES"/n1/{app,mail}.qcow2) raws=("$IMAGES"/n1/{app,mail}.raw)
  # Both come into the page cache as they are written, and stay there.
  python3 "$HERE/scatter.py" "${raws[0]}" "$WORK/dense.img" "$WORK/scattered.img"
  for round in 1 2 3 4 5; do
    rm -rf "$repo" "$secret" "$GARRET_CACHE_DIR"
    "$GARRET" init "$repo" >/dev/null; "$GARRET" init -e passphrase "$secret" >/dev/null
    warm "${images[@]}"
    clock "first" "$GARRET" create "$repo::first" "${images[@]}"
    clock "zstd -3 -T2" zstd -q -3 -T2 -f "${images[@]}" --output-dir-flat "$WORK"; rm "$WORK"/*.zst
    clock "first, passphrase" "$GARRET" create "$secret::first" "${images[@]}"; rm -rf "$secret"
    warm "${images[@]}"; touch "${images[@]}"
    clock "again, after touch" "$GARRET" create "$repo::again" "${images[@]}"
    clock "b3sum --num-threads 2" b3sum --num-threads 2 "${images[@]}"
    sleep 3; "$GARRET" create "$repo::settled" "${images[@]}" # what was written just before it was read is read again
    clock "untouched" "$GARRET" create "$repo::untouched" "${images[@]}"
    "$GARRET" create "$repo::raw" "${raws[@]}"; touch "${raws[@]}"
    clock "raw, after touch" "$GARRET" create "$repo::raw-again" "${raws[@]}"
    clock "b3sum of raw" b3sum --num-threads 2 "${raws[@]}"
    cp --sparse=never "${images[0]}" "$WORK/copy"; rm "$WORK/copy" # the first to write after all that reading pays for it
    clock "restore" "$GARRET" extract --destination "$out" "$repo::first" "${images[0]}"; rm -rf "$out"
    clock "cp --sparse=never" cp --sparse=never "${images[0]}" "$WORK/copy"; rm "$WORK/copy"
    clock "restore, sparse raw" "$GARRET" extract --destination "$out" "$repo::raw" "${raws[0]}"; rm -rf "$out"
    clock "qemu-img convert -O raw" qemu-img convert -O raw "${images[0]}" "$WORK/copy"; rm "$WORK/copy"
    for kind in dense scattered; do
      rm -rf "$secret"; "$GARRET" init "$secret" >/dev/null
      clock "1 GB $kind" "$GARRET" create "$secret::a" "$WORK/$kind.img"
    done
  done
  row "first" "zstd -3 -T2"; row "first, passphrase" "first"
  row "again, after touch" "b3sum --num-threads 2"; row "raw, after touch" "b3sum of raw"; row "untouched" "first"
  row "restore" "cp --sparse=never"; row "restore, sparse raw" "qemu-img convert -O raw"; row "1 GB scattered" "1 GB dense"
  rm -f "$WORK"/{dense,scattered}.img
}

new_garret() { # new_* FILE: bytes of new chunks, before compression, that a backup of FILE adds
  local name; name=$(basename "$(dirname "$1")")-$(basename "$1")
  "$GARRET" create "$WORK/repo::$name" "$1"
  "$GARRET" info "$WORK/repo::$name" "$1" | sed -n 's/^New in this archive:.*(\([0-9]*\) bytes)/\1/p'
}
new_borg() {
  local name; name=$(basename "$(dirname "$1")")-$(basename "$1")
  borg create -C none --json "$WORK/borg::$name" "$1" | jq .archive.stats.deduplicated_size
}
new_restic() { restic -r "$WORK/restic" backup --json "$1" | jq 'select(.message_type == "summary") | .data_added'; }

fresh() { # a new repository of each kind
  rm -rf "$WORK/repo" "$WORK/borg" "$WORK/restic"
  "$GARRET" init "$WORK/repo" >/dev/null; borg init -e none "$WORK/borg" 2>/dev/null
  restic -r "$WORK/restic" init >/dev/null
}

guests() { # the same disk in other files, and in the next night
  local copies=$WORK/copies guest data tool file raw new
  export RESTIC_PASSWORD=acceptance RESTIC_CACHE_DIR=$WORK/restic-cache
  for guest in app mail; do
    mkdir -p "$copies"; file=$IMAGES/n1/$guest.qcow2
    qemu-img convert -O raw "$file" "$copies/copy.raw"
    qemu-img convert -O qcow2 -o cluster_size=4k "$file" "$copies/4k.qcow2"
    qemu-img convert -O qcow2 -o cluster_size=2M "$file" "$copies/2M.qcow2"
    data=$(("$(allocated "$copies/copy.raw")" * 1024))
    say "$guest: bytes of data" "$data"
    fresh
    for tool in garret borg restic; do
      for file in "$IMAGES/n1/$guest.qcow2" "$copies/copy.raw" "$copies/4k.qcow2" "$copies/2M.qcow2"; do
        new=$("new_$tool" "$file")
        say "$guest, $tool: new bytes with $(basename "$file"), of its data" "$new $(ratio "$new" "$data")"
        [ "$tool" != garret ] || [ "$file" = "$IMAGES/n1/$guest.qcow2" ] ||
          awk -v n="$new" -v d="$data" 'BEGIN {exit !(n <= 0.01*d)}' || fail "$guest: another copy adds too much"
      done
    done
    for file in "$copies"/*; do
      "$GARRET" extract --stdout "$WORK/repo::copies-$(basename "$file")" | cmp - "$file" || fail "$file does not come back"
      "$GARRET" extract --as raw --stdout "$WORK/repo::copies-$(basename "$file")" | cmp - "$copies/copy.raw" ||
        fail "$file does not come back as raw"
    done
    say "$guest: all copies back, as they were and as raw" same
    rm -rf "$copies"
    for tool in garret borg restic; do
      fresh; "new_$tool" "$IMAGES/n1/$guest.raw" >/dev/null; raw=$("new_$tool" "$IMAGES/n2/$guest.raw")
      fresh; "new_$tool" "$IMAGES/n1/$guest.qcow2" >/dev/null; new=$("new_$tool" "$IMAGES/n2/$guest.qcow2")
      say "$guest, $tool: new bytes of night 2, qcow2, raw, ratio" "$new $raw $(ratio "$new" "$raw")"
      [ "$tool" != garret ] || awk -v n="$new" -v r="$raw" 'BEGIN {exit !(n <= 1.02*r)}' || fail "$guest: night 2"
    done
  done
  rm -rf "$WORK/borg" "$WORK/restic" "$WORK/restic-cache"
}

all_nights() { nights none zstd; nights none lz4; nights none none; nights passphrase zstd; nights keyfile lz4; }
all_pipes() { pipes none; pipes passphrase; pipes keyfile; }

shift 3
for step in "${@:-nights pipes exact prune memory limits guests}"; do
  for step in $step; do
    case $step in
      nights) all_nights ;; pipes) all_pipes ;; exact | prune | memory | limits | guests) "$step" ;;
      *) fail "there is no step $step" ;;
    esac
  done
done
rm -rf "$WORK"
say "all steps asked for" passed
