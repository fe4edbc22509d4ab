# What the scripts beside this file have in common.
#
# In: FROM, a repository of another program; TO, one of garret that is there; WORK, a directory for this move alone, with room
# for the largest archive. Out: each archive of FROM in TO, with its time, and in WORK a list of what is in it: kind, mode,
# owner, time and name of everything, and the SHA-256 of each file. Promises: an archive counts as carried over when garret
# has restored it, that is what the list says, and TO has that very archive, complete, each time this is run; one that counts
# is not touched again; what was broken off is gone on with; one that cannot be carried over keeps none of the others from it;
# all is said to be well only if each archive that FROM names counts; FROM is only read; nothing lies where others may read.

failed=0
complain() { echo "moving: $*" >&2; failed=1; }
refuse() { echo "moving: $*" >&2; exit 1; }

# By "=NAME": of each archive in TO "ID COMPLETE"; of each that FROM names the ID it has in TO, once that is proven.
declare -A there=() seen=()

# begin FROM TO WORK
begin() {
  if [ $# != 3 ]; then
    echo "usage: $(basename "$0") FROM TO WORK" >&2
    exit 2
  fi
  umask 077
  FROM=$1 TO=$2
  # One that is on another host stays as it was given; a link is the name by which the other program knows it.
  [ ! -e "$1" ] || FROM=$(realpath --no-symlinks "$1")
  [ ! -e "$2" ] || TO=$(realpath "$2")
  own "${3%/}"
  ask
}

# Makes WORK, or takes one of this very move: root is to write nowhere where others may, and to clear nothing of anybody's.
own() {
  local move
  [ -e "$1" ] || mkdir -m 700 "$1"
  { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && [[ $(stat --format %a "$1") = *700 ]]; } ||
    refuse "$1 is no directory of yours alone (owner, mode 700); give one that is not there yet"
  WORK=$(realpath "$1") LISTS=$WORK/lists PROVEN=$WORK/proven TREE=$WORK/tree
  [ -f "$WORK/moving" ] || [ -z "$(ls -A "$WORK")" ] ||
    refuse "$WORK has files in it that are of no move; give one that is not there yet"
  exec 9>> "$WORK/moving"
  flock -n 9 || refuse "another one is at work in $WORK"
  [ -s "$WORK/moving" ] || printf '%s\0' "$FROM" "$TO" >&9
  mapfile -d '' -t move < "$WORK/moving"
  [ "${move[0]}" = "$FROM" ] && [ "${move[1]-}" = "$TO" ] ||
    refuse "$WORK is that of the move from ${move[0]} to ${move[1]-}; give one that is not there yet"
  mkdir -p "$LISTS" "$PROVEN"
  trap 'rm -rf "$TREE"' EXIT
}

needs() {
  local program
  for program in "$@"; do
    command -v "$program" > /dev/null || refuse "this needs $program, which is not installed"
  done
}

# Asks TO what is there.
ask() {
  local line rest
  garret list --format '{id} {complete} {name}{NUL}' "$TO" > "$WORK/there" || refuse "$TO cannot be listed"
  there=()
  while IFS= read -r -d '' line; do
    rest=${line#* }
    there["=${rest#* }"]="${line%% *} ${rest%% *}"
  done < "$WORK/there"
}

# For jq: a text as a field that ends with a NUL, and has no other.
FIELD='(. // "" | split("\u0000") | join("")), "\u0000"'

# each NUMBER FUNCTION: calls it with every NUMBER of the fields of WORK/archives, each of which ends with a NUL. All are read
# before the first call, so that nothing that is run there can take them away.
each() {
  local fields at
  mapfile -d '' -t fields < "$WORK/archives"
  for ((at = 0; at < ${#fields[@]}; at += $1)); do "$2" "${fields[@]:at:$1}"; done
}

end() {
  local key
  ask
  [ ${#seen[@]} != 0 ] || complain "$FROM has no archives"
  for key in "${!seen[@]}"; do
    # Of one without an ID it was said what became of it.
    [ -z "${seen[$key]}" ] || [ "${there[$key]-}" = "${seen[$key]} true" ] ||
      complain "${key#=}: is not in $TO any more"
  done
  [ $failed != 0 ] || echo "All archives of $FROM are in $TO; the lists of what is in them are in $LISTS"
  exit $failed
}

# The name of an archive as that of a file: no two have the same.
filed() {
  local name=${1//%/%25}
  echo "${name//\//%2F}"
}

# An empty directory for one archive.
clear() { rm -rf "$TREE" && mkdir "$TREE"; }

# What is below the current directory, as a list.
describe() {
  find . -mindepth 1 -printf '%y %m %U:%G %T@ %P -> %l\0' | LC_ALL=C sort -z &&
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum -z
}

# carry NAME TIME COMMENT
carry() {
  local name=$1 key="=$1" comment=${3//[[:cntrl:]]/ } list proven
  if [[ $name = *[[:cntrl:]]* ]]; then
    complain "$(printf %q "$name"): not carried over, for it has a control character"
    return
  elif [ -n "${seen[$key]+seen}" ]; then
    complain "$name: $FROM names it twice; the second is not carried over"
    return
  fi
  seen[$key]=
  list=$LISTS/$(filed "$name").list proven=$PROVEN/$(filed "$name")
  if [ -z "${there[$key]-}" ]; then
    # Whatever it says of itself: what comes of it is looked at.
    make "$name" "$2" "${comment:0:1000}" "$list" || true
    ask
    [ -n "${there[$key]-}" ] || { complain "$name: not carried over"; return; }
  elif [ ! -e "$list" ]; then
    complain "$name: $TO has an archive of that name, which is not from here"
    return
  fi
  local id=${there[$key]% *} again="garret delete $TO::$name, then run this again"
  if [ "${there[$key]}" != "$id true" ]; then
    complain "$name: not carried over: what $TO has of it is not complete, as garret info says; $again"
  elif [ -e "$proven" ] && [ "$(< "$proven")" = "$id" ]; then
    seen[$key]=$id
    echo "$name: was carried over before"
  elif restored "$name" | cmp -s - "$list"; then
    echo "$id" > "$proven"
    seen[$key]=$id
    echo "$name: carried over"
  else
    complain "$name: what garret gives back is not what came out of $FROM, as $list has it; $again"
  fi
}

# The archive NAME of FROM, and its list: `extract NAME` puts it into the current directory. All of that is given to garret by
# the directory: what is given by its own name is read through, if it is a link, and is to hold files, if it is a directory.
# Directories above what FROM has are in none of its archives, and get the mode that is usual, not that of WORK.
make() (
  clear && cd "$TREE" && (umask 022 && extract "$1") && describe > "$4" || exit
  [ -s "$4" ] || { echo "moving: $1: there is nothing in it" >&2; exit 1; }
  garret create --timestamp "$2" --comment "$3" -- "$TO::$(braced "$1")" .
)

# A name of which the program that gets it fills nothing in.
braced() {
  local name=${1//\{/\{\{}
  echo "${name//\}/\}\}}"
}

# What garret gives back of an archive, as a list.
restored() { clear && garret extract --destination "$TREE" "$TO::$1" && (cd "$TREE" && describe); }
