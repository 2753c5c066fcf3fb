#!/usr/bin/env bash
# What a user gets: installs into a folder, and builds and runs examples/lookup.c against what is there, by the means that
# the README gives, on a real file. Prints a line for each check; the first that fails ends it, with what differed.
#
# Takes SMMAPD, TOP_SRCDIR, TOP_BUILDDIR, CC and MAKE from the environment, as `make check` sets them.
set -euo pipefail
export LC_ALL=C

: "${SMMAPD:?}" "${TOP_SRCDIR:?}" "${TOP_BUILDDIR:?}" "${CC:?}" "${MAKE:?}"
read -ra cc <<<"$CC"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

n=0

passed() {
	n=$((n + 1))
	echo "ok $n - $1"
}

failed() {
	echo "not ok $((n + 1)) - $1"
	exit 1
}

# Requires that two files are equal.
same() {
	cmp -s "$2" "$3" || {
		diff "$2" "$3" | head -n 20 || true
		failed "$1"
	}
	passed "$1"
}

# Requires that a command ends well; what it says is shown only if it doesn't.
runs() {
	local name=$1
	shift
	"$@" >output 2>&1 || {
		echo "$*"
		cat output
		failed "$name"
	}
	passed "$name"
}

# Runs a command, and requires its exit status.
exits() {
	local name=$1 expected=$2 status=0
	shift 2
	"$@" >output 2>errors || status=$?
	[ "$status" -eq "$expected" ] || {
		echo "$*"
		echo "exit status $status instead of $expected"
		cat errors
		failed "$name"
	}
	passed "$name"
}

# ---- what is installed ----

dest=$work/dest
# This make is not a part of the one that runs the tests.
install_all() {
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES "$MAKE" -C "$TOP_BUILDDIR" install DESTDIR="$dest"
}
runs 'make install' install_all

find_one() {
	local found
	found=$(find "$dest" ! -type d -path "*/$1" -print -quit)
	[ -n "$found" ] || failed "$1 is installed" >&2
	echo "$found"
}
pc=$(find_one smmap-client.pc)
header=$(find_one smmap-client.h)
library=$(find_one libsmmap-client.so)
smmapd=$(find_one bin/smmapd)
passed 'program, header, library and pkg-config file are there'

find_one completions/smmapd >/dev/null
for kind in system user; do
	find_one "systemd/$kind/smmapd.socket" >/dev/null
	unit=$(find_one "systemd/$kind/smmapd.service")
	grep -Eq "^ExecStart=${smmapd#"$dest"}( |\$)" "$unit" || failed "the unit for a $kind starts the program that is installed"
	! grep -Eq '^InaccessiblePaths=.*-/(usr|opt)\b' "$unit" || failed "the unit for a $kind hides no folder of programs"
	! grep -q '@[a-z]*@' "$unit" || failed "nothing is left to fill in in the unit for a $kind"
done
passed 'units and completion are there'

installed_headers=$(find "$dest" -name '*.h' | wc -l)
[ "$installed_headers" -eq 1 ] || failed "one header is installed, not $installed_headers"
passed 'one header is installed'

sed -n 's/^[[:space:]]*\(smmap_[a-z_]*\);$/\1/p' "$TOP_SRCDIR/client/smmap-client.sym" | sort >listed
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort >exported
same 'the library exports what is listed, and nothing else' listed exported
grep -o '\bsmmap_[a-z_]*(' "$header" | tr -d '(' | sort -u | comm -12 - listed >declared
same 'the header declares all of it' listed declared

echo '#include <smmap-client.h>' >alone.c
runs 'the header compiles alone in C11' \
	"${cc[@]}" -std=c11 -Wall -Wextra -Wpedantic -Werror -I "$(dirname "$header")" -c alone.c -o alone.o
if command -v c++ >/dev/null; then
	cp alone.c alone.cc
	runs 'the header compiles alone in C++' \
		c++ -Wall -Wextra -Wpedantic -Werror -I "$(dirname "$header")" -c alone.cc -o alone.o
fi

[ "$("$smmapd" --version)" = "$("$SMMAPD" --version)" ] || failed 'the installed program runs'
passed 'the installed program runs'

PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR=$dest
# Also where it is installed into the system's own folders.
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
read -ra flags <<<"$(pkg-config --cflags --libs smmap-client)"
[ "smmapd $(pkg-config --modversion smmap-client)" = "$("$smmapd" --version)" ] || failed 'pkg-config knows the version'
passed 'pkg-config knows the version'

# ---- the example ----

# A program without the sanitizers can't load a library that has them.
if [ "$(nm -D "$library" | grep -c __asan_init || true)" -gt 0 ]; then
	echo "skipped: the example, since the library is built with sanitizers"
	echo "1..$n"
	exit 0
fi
export LD_LIBRARY_PATH=${library%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
runs 'the example compiles without a warning' \
	"${cc[@]}" -Wall -Wextra -Wshadow -Wconversion -Werror "$TOP_SRCDIR/examples/lookup.c" "${flags[@]}" -o lookup

serve() {
	"$smmapd" exec --window-size=64K --max-memory=1M -- "$@"
}

# A real file: the lines of the headers and of the documents that are on this machine.
real_text() {
	find /usr/include /usr/share -type f \( -name '*.h' -o -name '*.pm' -o -name '*.txt' -o -name copyright \) -readable \
		-exec cat {} + 2>/dev/null | tr -d '\000'
}
{ real_text || true; } | head -c 16M >text
{ cat text && echo; } | sort >sorted
lines=$(wc -l <sorted)
[ "$lines" -ge 100000 ] || failed "there are 100,000 lines of real text on this machine, not only $lines"
echo "# $lines lines, $(wc -c <sorted) bytes"

# Prefixes of many lengths, from all over the file; then the first line, the last, and some that aren't there.
{
	awk -v step=$((lines / 200)) 'NR % step == 1 && length($0) > 9 { print substr($0, 1, 10 + NR % 29) }' sorted
	awk 'length($0) { print; exit }' sorted
	tail -n 1 sorted
	printf '%s\n' '#include <std' '!!!! not there' 'zzzz not there' $'\377\377' 'a line that is nowhere'
} | awk '!seen[$0]++' >prefixes
mapfile -t prefixes <prefixes

# The lines of the file that begin with each of the prefixes in a list, in the order of the list, without looking at any order.
expect() {
	awk '
		NR == FNR { number[$0] = NR; lengths[length($0)]; next }
		{
			for (size in lengths) {
				start = substr($0, 1, size)
				if (length(start) == size && start in number)
					print number[start] "\t" $0
			}
		}' "$1" sorted | sort -s -n -k 1,1 -t "$(printf '\t')" | cut -f 2-
}
expect prefixes >expected
echo "# ${#prefixes[@]} prefixes, $(wc -l <expected) lines that begin with them"

exits 'it runs, with one process' 0 serve ./lookup -j 1 sorted "${prefixes[@]}"
same 'it finds what is there' expected output
exits 'it runs, with 8 processes' 0 serve ./lookup -j 8 sorted "${prefixes[@]}"
same '8 processes find the same, in the same order' expected output
exits 'all of the file begins with nothing' 0 serve ./lookup sorted ''
same 'which is the whole file' sorted output

# Eight that know nothing of each other.
eight_at_once() {
	local pids=() i status=0
	for i in 1 2 3 4 5 6 7 8; do
		./lookup -j 2 sorted "${prefixes[@]}" >"found.$i" &
		pids+=("$!")
	done
	for i in "${pids[@]}"; do
		wait "$i" || status=$?
	done
	return "$status"
}
export -f eight_at_once
# shellcheck disable=SC2016 # expanded by the inner shell
exits '8 programs run at once' 0 serve bash -c 'mapfile -t prefixes <prefixes; eight_at_once'
for i in 1 2 3 4 5 6 7 8; do
	cmp -s expected "found.$i" || same "program $i of 8 finds what is there" expected "found.$i"
done
passed 'all 8 find what is there'

# ---- at the edges ----

exits 'nothing is found: status 1' 1 serve ./lookup sorted 'a line that is nowhere'
[ ! -s output ] || failed 'and nothing is printed'

: >empty
exits 'an empty file has nothing' 1 serve ./lookup empty '' a

{
	printf 'a%.0s' {1..200000} && echo
	printf 'b%.0s' {1..1500000} && echo
	printf 'bc\nbcd\nc, without an end'
} >long
for prefix in a aa b bb bc bcd bcde c 'c, without an end' 'c, without an end and more' d ''; do
	PREFIX=$prefix awk 'index($0, ENVIRON["PREFIX"]) == 1' long >expected
	[ -s expected ] && status=0 || status=1
	exits "of long lines, those with '$prefix'" "$status" serve ./lookup long "$prefix"
	same "are found" expected output
done

# An error, and the sentence for it.
complains() {
	local sentence=$1
	shift
	exits "$sentence: status 2" 2 "$@"
	echo "lookup: $sentence" >sentence
	same 'said in these words' sentence errors
}
complains 'nowhere: No such file or directory' serve ./lookup nowhere a
complains '.: not a regular file' serve ./lookup . a
mkfifo fifo
complains 'fifo: not a regular file' serve ./lookup fifo a
complains '-j takes a number of processes: none' serve ./lookup -j none sorted a
# shellcheck disable=SC2016 # the backquotes are a part of the sentence
complains 'sorted: no server is there: start smmapd, or run the program under `smmapd exec`' \
	env SMMAP_SOCKET="$work/none" ./lookup sorted a
if [ -w /dev/full ]; then
	exits 'a full disk: status 2' 2 serve bash -c './lookup sorted "" >/dev/full'
fi

echo "1..$n"
