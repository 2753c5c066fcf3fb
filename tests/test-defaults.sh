#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Whether all that tells of the settings of the server knows each of them, and their defaults. Each check prints one line; all are made,
# also after one that failed.

: "${SMMAPD:?is set by make check}" "${TOP_SRCDIR:?is set by make check}"
LC_ALL=C
export LC_ALL
unset SMMAP_SOCKET XDG_RUNTIME_DIR

program_page=$TOP_SRCDIR/doc/smmapd.8
file_page=$TOP_SRCDIR/doc/smmapd.conf.5
example=$TOP_SRCDIR/etc/smmapd.conf

failed=0
folder=$(mktemp -d) || exit 99
trap 'rm -rf "$folder"' EXIT

# report WHAT PROBLEM: one line; it failed if there is a problem.
report() {
	if [ -z "$2" ]; then
		echo "ok: $1"
	else
		echo "FAILED: $1: $2"
		failed=1
	fi
}

# What holds with these options and nothing else: a line for each setting, with its name and value.
settings() { "$SMMAPD" --check-config --config=/dev/null "$@" 2>&1 | sed 's/  default$//; s/  command line$//'; }

settings >"$folder/settings"
names=$(sed 's/ .*//' "$folder/settings")
report "the program has settings" "$([ "$(printf '%s\n' "$names" | wc -l)" -ge 9 ] || cat "$folder/settings")"

# ---- each of them ----

# The default that a page gives: in the paragraph that begins with this line.
in_page() {
	sed -n "/$2/,/^\.\(It\|El\)/{/$2/d;p;}" "$1" | sed -n 's/^The default is \([^ ;]*\)\(\.\|;.*\)$/\1/p'
}
in_help() { "$SMMAPD" --help | sed -n "s/^ *--$1=.*(default: \([^;)]*\).*/\1/p"; }
in_example() { sed -n "s/^#$1 = //p" "$example"; }

for name in $names; do
	# The socket's default is where one is found.
	if [ "$name" = socket ]; then
		problem=
		grep -q '^\.It Fl Fl socket ' "$program_page" || problem="not in smmapd.8"
		grep -q '^\.It Cm socket ' "$file_page" || problem="$problem not in smmapd.conf.5"
		"$SMMAPD" --help | grep -q '^ *--socket=' || problem="$problem not in --help"
		report "socket is everywhere" "$problem"
		continue
	fi

	default=$(in_page "$program_page" "^\\.It Fl Fl $name ")
	problem=
	[ -n "$default" ] || problem="smmapd.8 has none;"
	for other in "$(in_page "$file_page" "^\\.It Cm $name ")" "$(in_help "$name")" "$(in_example "$name")"; do
		[ "$other" = "$default" ] || problem="$problem '$other' is not '$default';"
	done
	settings "--$name=$default" >"$folder/same"
	cmp -s "$folder/settings" "$folder/same" || problem="$problem with --$name=$default it is not as without"
	report "the default of $name is $default in smmapd.8, smmapd.conf.5, --help, the example and the program" "$problem"
done

# ---- what there is besides ----

# unknown FILE WORDS: those of WORDS that are no settings.
unknown() {
	for word in $1; do
		printf '%s\n' "$names" | grep -qx -e "$word" || printf '%s ' "$word"
	done
}
report "smmapd.conf.5 has no other settings" "$(unknown "$(sed -n 's/^\.It Cm \([a-z-]*\) .*/\1/p' "$file_page")")"

sed 's/^#\([a-z-]* = \)/\1/' "$example" >"$folder/conf"
"$SMMAPD" --check-config --config="$folder/conf" 2>&1 | sed "s|  $folder/conf:[0-9]*\$||" >"$folder/same"
report "the example without its marks is what holds anyway" "$(diff "$folder/settings" "$folder/same")"
"$SMMAPD" --check-config --config="$example" >"$folder/said" 2>&1
report "the example as it is says nothing" "$(grep -v ' default$' "$folder/said")"

exit $failed
