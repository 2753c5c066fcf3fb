#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# What fuzzing has found worth keeping, and what it begins with, through the fuzzers as this compiler has built them. Where an input stops one,
# its file is the last that is named.

: "${TOP_SRCDIR:?is set by make check}" "${TOP_BUILDDIR:?}"

failed=0
for corpus in "$TOP_SRCDIR"/tests/fuzz/corpus/*/; do
	name=$(basename "$corpus")
	echo "$name:"
	"$TOP_BUILDDIR/tests/fuzz/replay-$name" "$corpus" || failed=1
done
exit $failed
