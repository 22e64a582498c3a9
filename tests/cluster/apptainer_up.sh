#!/usr/bin/env bash
# apptainer_up.sh PYTHON: a real Apptainer, and a base image with PYTHON's torch, on a Debian 12 that packages neither.
#
# Makes in $DCRNN_APPTAINER (/var/tmp/dcrnn_fast-apptainer): os/, Debian unstable with Apptainer in it; base/, Debian 12
# with Python and the packages that this project requires, taken from PYTHON's environment; bin/apptainer, which runs the
# first. What is there already is kept. Ends with 75 if Debian's mirror does not answer, after three tries.
set -euo pipefail
python=${1:?which Python has torch and the other requirements?}
root=${DCRNN_APPTAINER:-/var/tmp/dcrnn_fast-apptainer}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NO_MIRROR=75
export DEBIAN_FRONTEND=noninteractive
mkdir -p "$root/bin"
exec 9> "$root/lock" # two test runs of one machine
flock 9

retried() {
  local try
  for try in 1 2 3; do
    "$@" && return 0
    echo "apptainer_up.sh: try $try of 3 failed: $*" >&2
    sleep $((try * 5))
  done
  echo "apptainer_up.sh: Debian's mirror does not answer" >&2
  exit "$NO_MIRROR"
}

# The archive's index has an end of validity, which a machine whose clock is ahead of the mirror has passed.
debian() { # NAME SUITE PACKAGES: a tree that is complete or absent
  [ -e "$root/$1/.complete" ] && return
  making() {
    rm -rf "$root/$1.new"
    mmdebstrap --quiet --aptopt='Acquire::Check-Valid-Until "false"' --variant=minbase --include="$3" "$2" "$root/$1.new" "$mirror"
  }
  retried making "$@"
  rm -rf "${root:?}/$1" "$root/$1.new"/dev/* "$root/$1.new"/var/lib/apt/lists/* "$root/$1.new"/usr/share/{doc,locale,man}
  touch "$root/$1.new/.complete"
  mv "$root/$1.new" "$root/$1"
}

installing() { apt-get update -q && apt-get install -y -q --no-install-recommends mmdebstrap uidmap; }
if ! command -v mmdebstrap > /dev/null || ! command -v newuidmap > /dev/null; then retried installing > /dev/null; fi
mirror=$(awk '/^URIs:/ && $2 !~ /security/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources 2> /dev/null || true)
mirror=${mirror:-http://deb.debian.org/debian}
debian os sid apptainer,squashfuse,fuse2fs,e2fsprogs,fakeroot
debian base bookworm python3,ca-certificates
packages=$root/base/usr/local/lib/python3.11/dist-packages
wanted=$("$python" "$here/requirements_of.py" dcrnn_fast pip setuptools wheel)
if [ "$wanted" != "$(cat "$root/base/.requirements" 2> /dev/null)" ]; then
  rm -rf "$packages"
  "$python" "$here/requirements_of.py" dcrnn_fast pip setuptools wheel --into "$packages" > /dev/null
  chown -hR 0:0 "$root/base"
  echo "$wanted" > "$root/base/.requirements"
fi

# Apptainer asks for a root that it may change, which a container's root is not, and refuses a mere chroot.
cat > "$root/enter.sh" <<'INSIDE'
os=$1 binds=$2
shift 2
mount --make-rprivate /
mount --bind "$os" "$os"
for folder in /proc /sys /dev; do mount --rbind "$folder" "$os$folder"; done
mount -t tmpfs tmpfs "$os/tmp"
for file in /etc/resolv.conf /etc/hosts; do cp "$file" "$os$file" 2> /dev/null || true; done
IFS=:
for folder in $binds; do
  mkdir -p "$os$folder"
  mount --rbind "$folder" "$os$folder"
done
unset IFS
cwd=$PWD
cd "$os"
mkdir -p .before
pivot_root . .before
cd "$cwd" 2> /dev/null || cd /
umount -l /.before
exec apptainer "$@"
INSIDE
cat > "$root/bin/apptainer" <<OUTSIDE
#!/usr/bin/env bash
# APPTAINER_SEES: folders of this machine, separated by colons, that Apptainer sees at the same place
exec unshare --user --map-root-user --map-users=200000,1,65535 --map-groups=200000,1,65535 --mount \\
  bash "$root/enter.sh" "$root/os" "$root/base\${APPTAINER_SEES:+:\$APPTAINER_SEES}" "\$@"
OUTSIDE
chmod +x "$root/bin/apptainer"
for file in /etc/subuid /etc/subgid; do grep -qs '^root:200000:' "$file" || echo root:200000:65536 >> "$file"; done
"$root/bin/apptainer" --version
