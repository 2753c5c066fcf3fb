#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Whether the program and the library are built as what strangers talk to should be. Each check prints one line; all are made, also after
# one that failed.

: "${SMMAPD:?is set by make check}" "${TOP_BUILDDIR:?is set by make check}" "${CC:?is set by make check}"
LC_ALL=C
export LC_ALL

library=$TOP_BUILDDIR/.libs/libsmmap-client.so

for file in "$SMMAPD" "$library"; do
	[ -f "$file" ] || { echo "$file is not there" && exit 99; }
done
for tool in readelf objdump; do
	command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed" && exit 77; }
done
if readelf --dyn-syms --wide "$library" | grep -q '__[a-z]*san_'; then
	echo 'skipped: this is built with a sanitizer, which hardening would blind'
	exit 77
fi

failed=0
# The last one counts.
optimised=$(printf '%s\n' "$CFLAGS" | tr ' ' '\n' | grep '^-O' | tail -n 1)

# has WHAT FILE READELF-OPTION PATTERN: one line; it failed if no line of what readelf prints matches.
has() {
	if readelf --wide "$3" "$2" | grep -Eq -e "$4"; then
		echo "ok: ${2##*/}: $1"
	else
		echo "FAILED: ${2##*/}: $1: readelf $3 has no line like '$4'"
		failed=1
	fi
}

has_no() {
	if readelf --wide "$3" "$2" | grep -E -e "$4"; then
		echo "FAILED: ${2##*/}: $1: readelf $3 has the line above"
		failed=1
	else
		echo "ok: ${2##*/}: $1"
	fi
}

has 'it is a program, and is loaded anywhere' "$SMMAPD" --dynamic '\(FLAGS_1\).* PIE'
for file in "$SMMAPD" "$library"; do
	has 'it is position-independent' "$file" --file-header 'Type: *DYN '
	has 'what is relocated is read-only then' "$file" --program-headers '^ *GNU_RELRO '
	has 'all of it is relocated before it runs' "$file" --dynamic '\(FLAGS(_1)?\).* (BIND_)?NOW'
	has 'the stack has its flags' "$file" --program-headers '^ *GNU_STACK '
	has_no 'nothing is writable and executable' "$file" --program-headers '^ *[A-Z_]+ .* RWE 0x'
	has 'the stack is guarded' "$file" --dyn-syms ' __stack_chk_fail(@|$)'
	case $optimised in
		'' | -O0) echo "skipped: ${file##*/}: libc checks buffers: it does only in what is optimised" ;;
		*) has 'libc checks buffers' "$file" --dyn-syms ' __[a-z]+_chk(@|$)' ;;
	esac
done

# The functions that check have the same names at each level.
# shellcheck disable=SC2086 # CFLAGS are several words
case " $CFLAGS " in
	*_FORTIFY_SOURCE*) echo 'skipped: at which level libc checks buffers: CFLAGS says that' ;;
	*)
		if [ -z "$optimised" ] || [ "$optimised" = -O0 ] || ! grep -q '^smmap_cv_fortify_3=yes$' "$TOP_BUILDDIR/config.log"; then
			echo 'skipped: libc checks buffers at level 3: here it can not'
		elif printf '#include "config.h"\nlevel = _FORTIFY_SOURCE\n' | $CC $CFLAGS -I "$TOP_BUILDDIR" -E - | grep -q '^level = 3$'; then
			echo 'ok: libc checks buffers at level 3'
		else
			echo 'FAILED: libc checks buffers, but not at level 3'
			failed=1
		fi
		;;
esac

# probes FILE: a frame that is larger than a page is touched page by page, so that none leaps over the guard page below a stack. Nothing in
# a program says so but its code: no step down is longer than a page, and where one is a page it is touched.
probes() {
	code=$(objdump --disassemble --no-show-raw-insn "$1")
	if printf '%s\n' "$code" | grep -E 'sub +[$]0x[0-9a-f]{4,8},%[er]sp' | grep -Ev '[$]0x(1000|f{4}[0-9a-f]*),'; then
		echo "FAILED: ${1##*/}: large frames are touched page by page: the lines above are longer steps"
		failed=1
	elif ! printf '%s\n' "$code" | grep -E -A 1 'sub +[$]0x1000,%[er]sp' | grep -Eq '[$]0x0,\(%[er]sp\)'; then
		echo "FAILED: ${1##*/}: large frames are touched page by page: none is"
		failed=1
	else
		echo "ok: ${1##*/}: large frames are touched page by page"
	fi
}

case "$(readelf --file-header "$library") $CFLAGS" in
	*-stack-clash-protection*) echo 'skipped: large frames are touched page by page: CFLAGS says that' ;;
	*X86-64* | *80386*)
		if grep -q '^smmap_cv_flag__fstack_clash_protection=yes$' "$TOP_BUILDDIR/config.log"; then
			probes "$SMMAPD"
			probes "$library"
		else
			echo 'skipped: large frames are touched page by page: here the compiler can not'
		fi
		;;
esac

# What is linked is only marked where all of libc's own beginning of a program is: so the objects are looked at.
case "$(readelf --file-header "$library") $CFLAGS" in
	*-fcf-protection*) echo 'skipped: where jumps may go to is marked: CFLAGS says that' ;;
	*X86-64*)
		for object in "$TOP_BUILDDIR"/proto/.libs/*.o "$TOP_BUILDDIR"/client/.libs/*.o; do
			has 'where jumps may go to is marked' "$object" --notes 'x86 feature: .*IBT, SHSTK'
		done
		;;
esac

exit $failed
