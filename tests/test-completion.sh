#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What bash completes behind smmapd. Prints a line for each check; all are made, also after one that failed.
set -uo pipefail
export LC_ALL=C

: "${SMMAPD:?is set by make check}" "${TOP_SRCDIR:?is set by make check}"
failed=0
folder=$(mktemp -d) || exit 99
trap 'rm -rf "$folder"' EXIT

# shellcheck source=completions/smmapd
source "$TOP_SRCDIR/completions/smmapd" || exit 99

# completes EXPECTED WORD...: what bash offers for the last of these words behind smmapd has to be EXPECTED, in any order.
completes() {
	local expected got COMP_WORDS=("$SMMAPD" "${@:2}") COMP_CWORD=$(($# - 1)) COMPREPLY=()

	_smmapd "$SMMAPD" "${*: -1}" "${COMP_WORDS[COMP_CWORD - 1]}"
	# shellcheck disable=SC2086 # it is a list of words
	expected=$(printf '%s\n' $1 | sort)
	got=$(printf '%s\n' "${COMPREPLY[@]}" | sort)
	if [ "$got" = "$expected" ]; then
		echo "ok: smmapd ${*:2}"
	else
		echo "FAILED: smmapd ${*:2} is completed to '${got//$'\n'/ }', not to '${expected//$'\n'/ }'"
		failed=1
	fi
}

cd "$folder" || exit 99
mkdir maps
touch map.one map.two other 'with blank'

[ "$(complete -p smmapd)" = 'complete -F _smmapd smmapd' ] || {
	echo 'FAILED: bash knows the completion'
	failed=1
}

# All that the help has, at its place.
help=$("$SMMAPD" --help)
commands=$(sed -n 's/^[Usage: ]*smmapd \([a-z][a-z]*\).*/\1/p' <<<"$help")
options=$(sed -n 's/^  \(-[a-zA-Z], \)\{0,1\}\(--[a-z-]*=\{0,1\}\).*/\2/p' <<<"$help")
if [ "$(wc -w <<<"$commands")" -lt 6 ] || [ "$(wc -w <<<"$options")" -lt 8 ]; then
	echo 'FAILED: the help has commands and options'
	failed=1
fi
completes "$options" -
completes "$options" exec -
completes "$(grep ^c <<<"$commands")" c
completes 'exec' exe
completes '--max-memory=' --max-me
completes '--max-handles= --max-maps= --max-memory=' exec --max
completes '--clients' status --cl
completes '--files' status --json --f
completes '--help --length= --offset= --socket=' cat -
completes '--help --socket=' warm -
completes '' status --max
completes '' nonsense --max

# Files where they belong, and nowhere else.
completes 'map.one map.two maps' cat map
completes 'map.one map.two maps' cat --offset = 1 map
completes 'maps' drop maps
completes 'other' warm -- map.one o
completes '' warm -- --he
completes 'map.one map.two maps' --socket = map
completes 'map.one map.two maps' status --socket = map
completes '' --max-memory = map
completes '' status map
completes '' collect map

# A command behind exec, and then what is its business.
completes 'compgen' exec -- compge
completes 'map.one map.two maps' exec --max-memory = 1G -- compgen map

exit $failed
