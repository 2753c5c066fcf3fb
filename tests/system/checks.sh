#!/usr/bin/env bash
# What scripts/check-system checks, as root in a system that was booted for it: builds the packages of /source, installs them,
# and sees how the service fares. Prints a line for each check, and what it said where it failed; then the others are made all
# the same, unless they could not mean anything.
#
# shellcheck disable=SC2317 # The functions are called by check.
set -uo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PAGER=cat SYSTEMD_COLORS=0
unset XDG_RUNTIME_DIR SMMAP_SOCKET

passed=0 failed=0
log=$(mktemp)
exec </dev/null

# check WHAT COMMAND...: it holds if the command ends well.
check() {
	if "${@:2}" >"$log" 2>&1; then
		echo "ok: $1"
		passed=$((passed + 1))
		return 0
	fi
	echo "FAILED: $1"
	sed 's/^/    /' "$log" | tail -n 100
	failed=$((failed + 1))
	return 1
}

finish() {
	if [ "$failed" -gt 0 ]; then
		printf '\nThe journal of smmapd:\n'
		journalctl --no-pager --output=short-precise --lines=200 --unit=smmapd.service --unit=smmapd.socket | sed 's/^/    /'
	fi
	printf '\n%s passed, %s failed\n' "$passed" "$failed"
	[ "$failed" -eq 0 ]
	exit
}

# Shows what a command says, for the record.
show() {
	echo "---- $*"
	"$@" 2>&1 | sed 's/^/    /'
}

# until_true SECONDS COMMAND...: waits for it.
until_true() {
	local until=$((SECONDS + $1))
	while ! "${@:2}"; do
		[ "$SECONDS" -lt "$until" ] || return
		sleep 0.05
	done
}

as() { # USER COMMAND...
	setpriv --reuid="$1" --regid="$1" --init-groups env --chdir="/home/$1" HOME="/home/$1" timeout 900 "${@:2}"
}

main_pid() { systemctl show --property=MainPID --value smmapd.service; }

# A figure of the server, such as usage.memory_bytes; nothing where there is no server.
figure() {
	timeout 10 smmapd status --json 2>/dev/null | python3 -c 'import functools, json, sys
print(functools.reduce(lambda o, key: o[key], sys.argv[1].split("."), json.load(sys.stdin)))' "$1" 2>/dev/null
}

# Whether a figure is there, and at least or at most that.
at_least() {
	local value
	value=$(figure "$1") && [ -n "$value" ] && [ "$value" -ge "$2" ]
}
at_most() {
	local value
	value=$(figure "$1") && [ -n "$value" ] && [ "$value" -le "$2" ]
}

# ---- the packages ----

# Files on a file system that is no overlay, where each open would be a file of its own.
mount -t tmpfs -o mode=755 tmpfs /home
useradd --create-home --shell /bin/bash builder
useradd --create-home --shell /bin/bash alice

build() {
	cp -r /source ~builder/smmapd && chown -R builder: ~builder/smmapd || return
	as builder env --chdir=/home/builder/smmapd DEB_BUILD_OPTIONS="parallel=$(nproc)" \
		dpkg-buildpackage --unsigned-source --unsigned-changes
}
check 'the packages are built by a user, in a system that has only what they ask for' build || finish
check 'lintian finds no error and no warning in them' \
	as builder sh -c 'lintian --fail-on error,warning --pedantic --display-info *.changes'
cat "$log"

install_packages() {
	(cd ~builder && apt-get --quiet --yes install ./smmapd_*.deb ./libsmmap-client0_*.deb ./libsmmap-client-dev_*.deb)
}
socket_waits() {
	systemctl is-enabled smmapd.socket && systemctl is-active smmapd.socket && ! systemctl is-active smmapd.service
}
check 'the packages are installed' install_packages || finish
check 'the socket is enabled and active, and the service waits for a client' socket_waits

# ---- a user, and what the server can't open ----

prepare_alice() {
	cp /source/tests/system/reader.c ~alice && chown -R alice: ~alice || return
	# shellcheck disable=SC2016 # expanded by the inner shell
	as alice sh -e -c '
		umask 077
		mkdir private
		cc -O2 -Wall -Wextra -Wconversion -Werror reader.c -o reader $(pkg-config --cflags --libs smmap-client)
		for size in 9000001 24000000 31000007; do
			./reader make $size >private/$size
		done' || return
	[ "$(stat --format='%a %U' ~alice/private ~alice/private/* | sort -u)" = $'600 alice\n700 alice' ]
}
check 'a user builds a program against the -dev package, and has files of their own (0600 in 0700)' prepare_alice || finish
files=(/home/alice/private/*)

read_once() {
	as alice smmapd cat "${files[0]}" | cmp - "${files[0]}"
}
server_could_not() {
	local pid uid
	pid=$(main_pid) && uid=$(stat --format=%u "/proc/$pid") || return
	echo "the server is process $pid of uid $uid"
	[ "$uid" -ge 61184 ] && [ "$uid" -le 65519 ] || return
	[ "$(awk '/^Uid:/ { print $2, $3, $4, $5 }' "/proc/$pid/status")" = "$uid $uid $uid $uid" ] || return
	[ "$(awk '/^Cap(Eff|Prm|Bnd|Amb):/ { print $2 }' "/proc/$pid/status" | sort -u)" = 0000000000000000 ] || return
	# It has the file open, and maps it,
	find "/proc/$pid/fd" -lname "${files[0]}" | grep . && grep -F "${files[0]}" "/proc/$pid/maps" || return
	# which its user could not do.
	! setpriv --reuid="$uid" --regid="$uid" --clear-groups cat "${files[0]}" 2>denied >/dev/null && cat denied &&
		grep 'Permission denied' denied
}
check 'what the user reads through the server is what the file has' read_once
check 'the server, that has it mapped, could not open it: EACCES' server_could_not
check 'systemd started the service for that' systemctl is-active smmapd.service
safe() {
	systemd-analyze security --no-pager --threshold=10 smmapd.service
}
check 'systemd-analyze security: at most 1.0' safe
grep 'Overall exposure' "$log"

says_nothing_was_lowered() {
	journalctl --no-pager --unit=smmapd.service --output=cat | tee /dev/stderr | grep '^serving on ' &&
		! journalctl --no-pager --unit=smmapd.service --output=cat | grep lowered
}
check 'the limits of the unit are as many as the server asks for' says_nothing_was_lowered

# A client that says what is no packet, and waits until it is thrown out.
rubbish() {
	as alice python3 -c 'import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect("/run/smmapd/smmapd.sock")
s.send(b"rubbish")
try:
    s.recv(1)
except ConnectionResetError:
    pass'
}
journal_has_fields() {
	local uid
	uid=$(id --user alice) && rubbish || return
	journalctl --sync
	journalctl --no-pager --output=verbose SMMAPD_EVENT=disconnect "SMMAPD_CLIENT_UID=$uid" _SYSTEMD_UNIT=smmapd.service >fields
	cat fields
	grep 'MESSAGE=pid [0-9]* (no name, uid '"$uid"'): disconnected: ' fields && grep 'PRIORITY=4' fields &&
		grep 'SMMAPD_CLIENT_PID=[1-9]' fields
}
check 'the journal has who was thrown out, and why, with fields' journal_has_fields

# What smmapd(8) has on that.
narrow() {
	groupadd --system smmap && usermod --append --groups smmap alice && mkdir /etc/systemd/system/smmapd.socket.d || return
	sed -n '/^\[Socket\]$/,/^\.Ed$/{/^\.Ed$/!p}' /source/doc/smmapd.8 >/etc/systemd/system/smmapd.socket.d/override.conf
	systemctl daemon-reload && systemctl restart smmapd.socket && read_once || return
	! as builder smmapd status 2>refused && cat refused && grep 'Permission denied' refused
}
widen() {
	rm -r /etc/systemd/system/smmapd.socket.d && systemctl daemon-reload && systemctl restart smmapd.socket && groupdel smmap &&
		as builder smmapd status
}
check 'the socket lets only a group in, where smmapd(8) says how' narrow
check 'and again all users without that' widen

# ---- the service under load ----

readers=4
declare -A reader_pids=()

# Readers of the user, each with a log of its own.
start_load() {
	local i
	for ((i = 1; i <= readers; i++)); do
		setpriv --reuid=alice --regid=alice --init-groups ~alice/reader read "${files[@]}" >"/tmp/reader.$i" 2>&1 &
		reader_pids[$i]=$!
	done
	until_true 30 loaded 1000
}

# They are all connected, and have been granted so much since the server started.
loaded() {
	at_least usage.clients $((readers + 1)) && at_least counters.grants "$1"
}

# None has ended, and each says at its end that all was right.
end_load() {
	local i status=0
	for i in "${!reader_pids[@]}"; do
		kill "${reader_pids[$i]}" 2>/dev/null || status=1
		wait "${reader_pids[$i]}" || status=1
		cat "/tmp/reader.$i"
		grep -q 'all right' "/tmp/reader.$i" || status=1
	done
	return "$status"
}

mkdir -p /etc/smmapd.conf.d
set_limit() {
	printf 'max-memory = %s\nwindow-size = 1M\n' "$1" >/etc/smmapd.conf.d/check.conf
}
start_small() {
	set_limit 32M && systemctl restart smmapd.service && start_load
	smmapd status
	[ "$(figure limits.memory_bytes)" = $((32 << 20)) ]
}
check 'smmapd.conf.d limits the server, and four readers are over that limit' start_small
show smmapd status --clients --files

halved() {
	[ "$(figure limits.memory_bytes)" = $((16 << 20)) ] && at_most usage.memory_bytes $((16 << 20))
}
reload() {
	local before
	before=$(main_pid)
	set_limit 16M && systemctl reload smmapd.service && until_true 20 halved
	smmapd status
	[ "$(main_pid)" = "$before" ] && halved
}
check 'systemctl reload halves the limit under load, and no more is used than that' reload

# The service has another process, which the readers have found.
replaced() {
	local pid
	pid=$(main_pid)
	[ "$pid" -ne 0 ] && [ "$pid" -ne "$1" ] && loaded 1000
}
restart() {
	local before
	before=$(main_pid)
	systemctl restart smmapd.service && until_true 30 replaced "$before"
}
die() {
	local before
	before=$(main_pid)
	kill -KILL "$before" && until_true 30 replaced "$before"
}
hang() {
	local before
	before=$(main_pid)
	kill -STOP "$before" && until_true 30 replaced "$before" || return
	journalctl --no-pager --unit=smmapd.service | grep -i 'watchdog timeout'
}
upgrade() {
	local before
	before=$(main_pid)
	dpkg --install ~builder/smmapd_*.deb && until_true 30 replaced "$before"
}
check 'systemctl restart under load: the readers go on with the next server' restart
check 'kill -9 of the server under load: the same' die
mkdir -p /run/systemd/system/smmapd.service.d
printf '[Service]\nWatchdogSec=2s\n' >/run/systemd/system/smmapd.service.d/check.conf
systemctl daemon-reload
check 'with a watchdog of 2 s, it is restarted' restart
check 'SIGSTOP of the server under load: the watchdog has systemd start another' hang
check 'an upgrade of the package under load: the same' upgrade
check 'all that the readers have read meanwhile was right, and no call has failed' end_load
cat "$log"
rm -r /run/systemd/system/smmapd.service.d /etc/smmapd.conf.d/check.conf
rmdir --ignore-fail-on-non-empty /etc/smmapd.conf.d
systemctl daemon-reload

# ---- files that hang ----

hung_folder=/tmp/hung-files hung_client='' runners=()

# Of these the server begins to close some: that hangs already.
hang_files() {
	local build=/home/builder/smmapd/_build/debian drop
	as builder make -C "$build" tests/system/hung-files || return
	[ -e /dev/fuse ] || mknod /dev/fuse c 10 229 || return
	"$build/tests/system/hung-files" "$hung_folder" >/tmp/hung 2>&1 &
	hung_client=$!
	until_true 30 grep 'files hang' /tmp/hung || ! cat /tmp/hung || return
	smmapd drop "$hung_folder" &
	drop=$!
	until_true 30 at_least usage.closing 4 || return
	kill "$drop"
	wait "$drop"
	smmapd status --files >/tmp/files && cat /tmp/files && grep -q "$hung_folder" /tmp/files
}

# Some of the runners of the server that is gone hang, since they are here in spite of SIGKILL; or none.
some_are_left() {
	kill -KILL "${runners[@]}" 2>/dev/null
	ps --no-headers -o pid,stat,wchan:20,comm "${runners[@]}"
}
none_is_left() {
	! ps "${runners[@]}" && ! grep -qs "$hung_folder" /proc/[0-9]*/mounts
}

# What takes longer than TimeoutStopSec= is killed, and has failed.
stop_with_hung() {
	mapfile -t runners < <(pgrep --parent "$(main_pid)" --exact smmapd-runner)
	[ "${#runners[@]}" -gt 0 ] && systemctl stop smmapd.service || return
	systemctl show --property=TimeoutStopUSec,ActiveState,Result smmapd.service | sort | tee state
	grep -qx 'ActiveState=inactive' state && grep -qx 'Result=success' state && some_are_left
}
start_beside_hung() {
	systemctl start smmapd.service && read_once && systemctl is-active smmapd.service && some_are_left
}
end_hung() {
	kill "$hung_client" && wait "$hung_client" && until_true 30 none_is_left && rmdir "$hung_folder" && read_once
}
check 'a client has files open whose file system then hangs' hang_files
check 'systemctl stop ends the service well, and within TimeoutStopSec=, though every close of these hangs' stop_with_hung
cat "$log"
check 'beside what hangs of it, it is started again, and serves' start_beside_hung
check 'when the file system ends, nothing is left of that' end_hung

# ---- a user's own server ----

own_server() {
	local uid runtime status=0
	uid=$(id --user alice) && runtime=/run/user/$uid
	loginctl enable-linger alice && until_true 30 test -S "$runtime/systemd/private" || return
	# shellcheck disable=SC2016 # expanded by the inner shell
	as alice env XDG_RUNTIME_DIR="$runtime" sh -e -c '
		systemctl --user is-enabled smmapd.socket && exit 1
		systemctl --user start smmapd.socket
		smmapd cat "$1" | cmp - "$1"
		smmapd status --files
		systemctl --user is-active smmapd.service' sh "${files[0]}" || status=1
	pgrep --euid alice --list-full smmapd || status=1
	loginctl disable-linger alice && until_true 30 eval "! pgrep --euid alice smmapd" || status=1
	return "$status"
}
check "a user's own server is started by its socket, and ends with the user's last session" own_server

# ---- the packages' own tests ----

check 'the tests of the packages pass (autopkgtest)' \
	autopkgtest --quiet --no-built-binaries ~builder/*.deb ~builder/smmapd/ -- null

# ---- after it ----

purge() {
	apt-get --quiet --yes purge smmapd libsmmap-client0 libsmmap-client-dev
}
nothing_runs() {
	! pgrep --list-full smmapd && ! systemctl list-units --all --no-legend 'smmapd*' | grep . && ! ls -d /run/smmapd*
}
nothing_is_left() {
	# But for the mark of scripts/make-root.
	! find / -xdev \( -path /home -o -path /tmp -o -path /source -o -path /results -o -path /etc/smmapd-root \) -prune \
		-o -name '*smmap*' -print | grep .
}
check 'the packages are purged' purge
check 'nothing is left running: no process, no socket, no unit' nothing_runs
check 'nothing is left on disk' nothing_is_left
finish
