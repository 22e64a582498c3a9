#!/usr/bin/env bash
# two_hosts.sh STATE up [FOLDER...] | down: two hosts a and b inside this machine, joined by a cable of their own.
#
# Each has its own network (10.78.0.1 and .2 on eth0), host name, /etc/hosts and /tmp, and lives as long as the process
# that has called this. FOLDERs stay visible where a host's own /tmp would hide them. Nothing of this machine's network changes.
# STATE/bin/ssh is an ssh that reaches them: it takes OpenSSH's options, hands the words to the host's shell as sshd
# does, with an empty environment, and can be made to fail (see there).
set -euo pipefail
state=$1 what=$2
shift 2

case $what in
down)
  for file in "$state"/*.pid; do [ -e "$file" ] && kill -9 "$(cat "$file")" 2> /dev/null || true; done
  rm -f "$state"/*.pid
  exit 0
  ;;
up) ;;
*)
  echo "two_hosts.sh: up or down, got $what" >&2
  exit 2
  ;;
esac

mkdir -p "$state/bin" "$state/kept"
printf '127.0.0.1 localhost\n10.78.0.1 a\n10.78.0.2 b\n' > "$state/hosts"
cat > "$state/host.sh" <<'HOST'
name=$1 state=$2
shift 2
hostname "$name"
mount --bind "$state/hosts" /etc/hosts
number=0
for folder in "$@"; do
  mkdir -p "$state/kept/$number" && mount --bind "$folder" "$state/kept/$number"
  number=$((number + 1))
done
mount -t tmpfs tmpfs /tmp
number=0
for folder in "$@"; do
  mkdir -p "$folder"
  [ "$folder" -ef "$state/kept/$number" ] || mount --bind "$state/kept/$number" "$folder"
  number=$((number + 1))
done
echo $$ > "$state/$name.pid.new"
mv "$state/$name.pid.new" "$state/$name.pid"
while [ -e "/proc/$owner" ]; do sleep 1; done
HOST
for name in a b; do
  owner=$PPID setsid unshare --net --uts --mount bash "$state/host.sh" "$name" "$state" "$@" > "$state/$name.log" 2>&1 < /dev/null &
done
for name in a b; do
  for ((i = 0; i < 200; i++)); do
    [ -e "$state/$name.pid" ] && break
    sleep 0.05
  done
  [ -e "$state/$name.pid" ] || { cat "$state/$name.log" >&2; exit 1; }
done
a=$(cat "$state/a.pid") b=$(cat "$state/b.pid")
nsenter -t "$a" -n ip link add eth0 type veth peer name eth0 netns "$b"
address=1
for pid in "$a" "$b"; do
  nsenter -t "$pid" -n ip link set lo up
  nsenter -t "$pid" -n ip addr add "10.78.0.$address/24" dev eth0
  nsenter -t "$pid" -n ip link set eth0 up
  address=$((address + 1))
done

cat > "$state/bin/ssh" <<'SSH'
#!/usr/bin/env bash
# STATE/HOST.refuses: no login. STATE/HOST.flips: a number; that byte of what is sent there arrives changed.
state=$(dirname "$(dirname "$(readlink -f "$0")")")
while [ "${1#-}" != "$1" ]; do
  case $1 in -o | -p | -i | -l) shift 2 ;; *) shift ;; esac
done
host=${1##*@}
shift
if [ ! -e "$state/$host.pid" ]; then
  echo "ssh: Could not resolve hostname $host: Name or service not known" >&2
  exit 255
elif [ -e "$state/$host.refuses" ]; then
  echo "$host: Permission denied (publickey)." >&2
  exit 255
fi
remote() { # the login shell greets, as many do
  nsenter -t "$(cat "$state/$host.pid")" -n -u -m env -i HOME=/root USER=root PATH=/usr/local/bin:/usr/bin:/bin SHELL=/bin/sh \
    sh -c 'cd; echo "Welcome to $(hostname)"; exec sh -c "$1"' sshd "$*"
}
if [ -e "$state/$host.flips" ]; then
  python3 -c '
import sys
at, done = int(sys.argv[1]), 0
while block := sys.stdin.buffer.read1(65536):
    if done <= at < done + len(block):
        block = bytearray(block)
        block[at - done] ^= 1
    done += len(block)
    sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()
' "$(cat "$state/$host.flips")" | remote "$@"
else
  remote "$@"
fi
SSH
chmod +x "$state/bin/ssh"
