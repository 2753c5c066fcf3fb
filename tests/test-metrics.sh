#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Whether what `smmapd status --openmetrics` prints is what Prometheus reads: by promtool, and by the strict parser of OpenMetrics in
# Python's prometheus_client, as far as these are installed.

: "${SMMAPD:?is set by make check}"

folder=$(mktemp -d) || exit 99
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 99

failed=0

# check WHAT COMMAND...: one line, and what the command said if it failed.
check() {
	what=$1
	shift
	if "$@" >said 2>&1; then
		echo "ok: $what"
	else
		echo "FAILED: $what"
		cat said
		failed=1
	fi
}

# A server that has granted (five windows, of which two and two are together: who runs forward is given more), and one that has not.
head -c 300000 /dev/zero >file
# shellcheck disable=SC2016 # for the inner shell
"$SMMAPD" exec --window-size=64K -- sh -c '"$0" warm file && "$0" status --openmetrics >used' "$SMMAPD" >/dev/null
"$SMMAPD" exec -- "$SMMAPD" status --openmetrics >unused

cat >strict.py <<'END'
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
names = [family.name for family in text_string_to_metric_families(open(sys.argv[1]).read())]
sys.exit("smmapd_grant_seconds" not in names or "smmapd_grants_total" not in names)
END

for figures in used unused; do
	check "$figures: the last line is # EOF" test "$(tail -n 1 $figures)" = '# EOF'
	if command -v promtool >/dev/null; then
		# shellcheck disable=SC2016 # for the inner shell
		check "$figures: promtool check metrics" sh -c 'promtool check metrics <"$0"' $figures
	else
		echo "skipped: $figures: promtool is not installed"
	fi
	if /usr/bin/python3 -c 'import prometheus_client.openmetrics.parser' 2>/dev/null; then
		check "$figures: OpenMetrics" /usr/bin/python3 strict.py $figures
	else
		echo "skipped: $figures: Python's prometheus_client is not installed"
	fi
done
check 'quantiles are there once there are grants' grep -q '^smmapd_grant_seconds{quantile="0.99"} 0\.[0-9]*$' used
check 'and counted' grep -qx 'smmapd_grant_seconds_count 3' used
check 'as the grants are' grep -qx 'smmapd_grants_total 3' used
check 'by user' grep -qx "smmapd_user_clients{uid=\"$(id -u)\"} 1" used

exit $failed
