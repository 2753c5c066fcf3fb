#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Whether the manual pages say what the code says. Each check prints one line; all are made, also after one that failed.

: "${SMMAPD:?is set by make check}" "${TOP_SRCDIR:?is set by make check}" "${TOP_BUILDDIR:?is set by make check}"
CC=${CC:-cc}
LC_ALL=C
export LC_ALL

program_page=$TOP_SRCDIR/doc/smmapd.8
library_page=$TOP_SRCDIR/doc/smmap-client.3
protocol_page=$TOP_SRCDIR/doc/smmap-protocol.7
file_page=$TOP_SRCDIR/doc/smmapd.conf.5
header=$TOP_SRCDIR/client/smmap-client.h
symbols=$TOP_SRCDIR/client/smmap-client.sym

failed=0
folder=$(mktemp -d) || exit 99
trap 'rm -rf "$folder"' EXIT

# report WHAT PROBLEMS: one line; it failed if there are any problems.
report() {
	if [ -z "$2" ]; then
		echo "ok: $1"
	else
		echo "FAILED: $1: $(printf '%s' "$2" | tr '\n' ' ')"
		failed=1
	fi
}

# missing WHAT WORDS FILE PATTERN: reports those of WORDS for which FILE has no line that matches PATTERN, an extended regular
# expression in which WORD stands for the word; if the word is NAME=NUMBER, these stand for its parts. There has to be a word at all.
missing() {
	problems=
	[ -n "$2" ] || problems="nothing was found to look for"
	for word in $2; do
		pattern=$(printf '%s\n' "$4" | sed -e "s/WORD/$word/g" -e "s/NAME/${word%=*}/g" -e "s/NUMBER/${word#*=}/g")
		grep -Eq -e "$pattern" "$3" || problems="$problems $word"
	done
	report "$1" "$problems"
}

# ---- form ----

for page in "$program_page" "$library_page" "$protocol_page" "$file_page"; do
	name=${page##*/}
	if ! command -v mandoc >/dev/null; then
		echo "skipped: $name is well-formed: mandoc is not installed"
	else
		report "$name is well-formed" "$(mandoc -Tlint -Wwarning "$page" 2>&1)"
	fi
done

# ---- the library ----

# The compiler takes the comments out. What is inlined is a part of functions that are there too.
# shellcheck disable=SC2086 # CC may have options
functions=$($CC -E -P -x c "$header" | grep -o 'smmap_[a-z0-9_]* *(' | tr -d ' (' | grep -v '_inlined$' | sort -u)
missing "smmap-client.3 has the prototype of every function of the header" "$functions" "$library_page" '^\.F[no] WORD( |$)'
missing "smmap-client.3 describes every function of the header" "$functions" "$library_page" '^\.It Fn WORD |^\.Fn WORD error$'
missing "smmap-client.sym exports every function of the header" "$functions" "$symbols" '^[[:space:]]*WORD;$'
printf '%s\n' "$functions" >"$folder/functions"
missing "the header has every function of smmap-client.sym" \
	"$(sed -n 's/^[[:space:]]*\(smmap_[a-z0-9_]*\);$/\1/p' "$symbols")" "$folder/functions" '^WORD$'

# ---- the program ----

help=$("$SMMAPD" --help)

missing "smmapd.8 has every option of --help" \
	"$(printf '%s\n' "$help" | grep -o -e '--[a-z][a-z-]*' | sed 's/^--//' | sort -u)" "$program_page" '^\.It.* Fl Fl WORD( |$)'
missing "smmapd.8 has every short option of --help" \
	"$(printf '%s\n' "$help" | sed -n 's/^ *-\([a-zA-Z]\), --.*/\1/p')" "$program_page" '^\.It Fl WORD , '
missing "smmapd.8 has every command of --help" \
	"$(printf '%s\n' "$help" | sed -n 's/^[Usage: ]*smmapd \([a-z][a-z]*\).*/\1/p')" "$program_page" '^\.It Cm WORD$'

# ---- the protocol ----

# All message types, as NAME=NUMBER.
types=$(awk '
	/^enum message_type/ { inside = 1; next }
	inside && /^}/ { exit }
	inside && /MESSAGE_/ {
		if ($2 == "=") { number = $3; sub(/,.*/, "", number) } else number++
		name = $1; sub(/,.*/, "", name); sub(/^MESSAGE_/, "", name)
		print name "=" number + 0
	}' "$TOP_SRCDIR/proto/message.h")

missing "smmap-protocol.7 lists every message type" "$types" "$protocol_page" '^\.It NAME Ta NUMBER Ta '
missing "smmap-protocol.7 describes every message type" "$types" "$protocol_page" '^\.Ss NAME \(NUMBER\)'
missing "smmap-protocol.7 lists every figure" \
	"$(sed -n 's/^	SUMMARY([A-Z0-9_]*, "\([a-z0-9_.]*\)".*/\1/p; s/^	ROW([A-Z0-9_]*, [a-z_]*, \([a-z_]*\)).*/\1/p' \
		"$TOP_SRCDIR/proto/figures.c")" "$protocol_page" '^\.It WORD Ta '
missing "smmap-protocol.7 has the sizes of the protocol" \
	"$(sed -n -E 's/^#define (PACKET_MAX_[A-Z]*|MESSAGE_MAX_[A-Z]*|PROTOCOL_VERSION|BOARD_SLOTS) +([0-9]+).*/\1=\2/p' \
		"$TOP_SRCDIR/proto/channel.h" "$TOP_SRCDIR/proto/message.h" "$TOP_SRCDIR/daemon/peer.c")" \
	"$protocol_page" '(^|[^0-9])NUMBER([^0-9]|$)'

# ---- the example ----

if nm -D "$TOP_BUILDDIR/.libs/libsmmap-client.so" | grep -q -e __asan_init -e __tsan_init; then
	echo "skipped: the example of smmap-client.3, since the library is built with a sanitizer"
	exit $failed
fi

# It is the literal display behind the comment that names this test; the escapes of roff are undone.
sed -n '/^\.\\" tests\/test-pages\.sh /,/^\.Ed$/p' "$library_page" |
	sed -e '/^\./d' -e "s/\\\\(aq/'/g" -e 's/\\-/-/g' -e 's/\\e/\\/g' >"$folder/lines.c"
printf 'one\ntwo\nthree' >"$folder/three"
expected="2 lines, 13 bytes, the last is 101"

# shellcheck disable=SC2086 # CC may have options
complaint=$($CC -std=c11 -Wall -Wextra -Werror -I"$TOP_SRCDIR/client" -o "$folder/lines" "$folder/lines.c" \
	"$TOP_BUILDDIR/.libs/libsmmap-client.so" 2>&1) || complaint="${complaint:-the compiler failed}"
report "the example of smmap-client.3 compiles" "$complaint"

printed=$(LD_LIBRARY_PATH="$TOP_BUILDDIR/.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" \
	"$SMMAPD" exec -- "$folder/lines" "$folder/three" 2>&1)
status=$?
if [ $status -eq 0 ] && [ "$printed" = "$expected" ]; then
	report "the example of smmap-client.3 runs" ""
else
	report "the example of smmap-client.3 runs" "status $status, it printed '$printed', not '$expected'"
fi

# ---- what counts as a local file system ----

# By their magic numbers; ext4 has that of its ancestors.
sed -n '/types\[\] = {/,/};/s/[ \t]*\([A-Z0-9_]*\)_MAGIC[A-Z0-9_]*,/\1\n/gp' "$TOP_SRCDIR/daemon/volume.c" |
	sed -e '/^[[:space:]]*$/d' -e 's/_SUPER$//' -e 's/^ISOFS$/iso9660/' -e 's/^MSDOS$/vfat/' | tr '[:upper:]' '[:lower:]' | sort >"$folder/local"
sed -n '/^files on other file systems than$/,/ zfs,$/{/^files/d;/^\./d;s/ and /, /;p;}' "$file_page" | tr -d ',' | tr ' ' '\n' |
	sed -e '/^$/d' -e '/^ext[23]$/d' | sort >"$folder/said"
report "smmapd.conf.5 has the file systems that are local" "$([ -s "$folder/local" ] || echo none; diff "$folder/local" "$folder/said")"

exit $failed
