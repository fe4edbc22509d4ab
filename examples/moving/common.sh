# What the scripts beside this file have in common.
#
# In: FROM, a repository of another program; TO, one of garret that is there; WORK, a directory for this move alone, with room
# for the largest archive. Out: each archive of FROM in TO, with its time, and in WORK a list of what is in it: kind, mode, owner, time and
# name of everything, and the SHA-256 of each file. Promises: an archive counts as carried over when garret has restored it
# and that is what the list says; one that is carried over is not touched again; what was broken off is gone on with; one that
# cannot be carried over keeps none of the others from it; FROM is only read.

failed=0
complain() { echo "moving: $*" >&2; failed=1; }

begin() {
  if [ $# != 3 ]; then
    echo "usage: $(basename "$0") FROM TO WORK" >&2
    exit 2
  fi
  FROM=$1 TO=$(realpath "$2")
  # One that is on another host stays as it was given; a link is the name by which the other program knows it.
  [ ! -e "$1" ] || FROM=$(realpath --no-symlinks "$1")
  mkdir -p "$3"
  WORK=$(realpath "$3") LISTS=$WORK/lists TREE=$WORK/tree
  mkdir -p "$LISTS"
  exec 9> "$WORK/lock"
  flock -n 9 || { echo "moving: another one is at work in $WORK" >&2; exit 1; }
  [ -e "$WORK/from" ] || echo "$FROM" > "$WORK/from"
  [ "$(< "$WORK/from")" = "$FROM" ] ||
    { echo "moving: $WORK is that of $(< "$WORK/from"); give another one" >&2; exit 1; }
  there=$(garret list --short "$TO")
}

end() {
  rm -rf "$TREE"
  [ $failed = 0 ] && echo "All archives of $FROM are in $TO; the lists of what is in them are in $LISTS"
  exit $failed
}

# Where the list of an archive is; a name may have a slash.
list_of() { echo "$LISTS/${1//\//%}"; }

# An empty directory for one archive.
clear() { rm -rf "$TREE" && mkdir -m 700 "$TREE"; }

# What is below the current directory, as a list.
describe() {
  find . -mindepth 1 -printf '%y %m %U:%G %T@ %P -> %l\0' | LC_ALL=C sort -z &&
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum -z
}

# carry NAME TIME COMMENT
carry() {
  local name=$1 list
  list=$(list_of "$name")
  if [ -e "$list" ]; then
    echo "$name: was carried over before"
    return
  fi
  # One that is there and has a list that waits is of a run that ended before it was looked at.
  if grep -Fxq -e "$name" <<< "$there"; then
    [ -e "$list.open" ] || { complain "$name: $TO has an archive of that name, which is not from here"; return; }
  elif ! make "$@" "$list.open"; then
    complain "$name: not carried over"
    return
  fi
  if restored "$name" | cmp -s - "$list.open"; then
    mv "$list.open" "$list"
    echo "$name: carried over"
  else
    complain "$name: what garret gives back is not what came out of $FROM, as $list.open has it; garret delete" \
      "$TO::$name, then run this again"
  fi
}

# The archive NAME of FROM, and its list: `extract NAME` puts it into the current directory.
make() (
  clear && cd "$TREE" && extract "$1" && describe > "$4" || exit
  [ -s "$4" ] || { echo "moving: $1: there is nothing in it" >&2; exit 1; }
  shopt -s dotglob
  garret create --timestamp "$2" --comment "$3" -- "$TO::$(braced "$1")" *
)

# A name of which the program that gets it fills nothing in.
braced() {
  local name=${1//\{/\{\{}
  echo "${name//\}/\}\}}"
}

# What garret gives back of an archive, as a list.
restored() { clear && garret extract --destination "$TREE" "$TO::$1" && (cd "$TREE" && describe); }
