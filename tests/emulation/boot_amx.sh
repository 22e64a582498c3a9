#!/usr/bin/env bash
# Runs commands of this checkout, with the shared object as built, on an emulated Intel Sapphire Rapids under Linux:
# its AMX instructions, cpuid and the kernel's permission, which this machine may lack. Times there mean nothing.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tests/emulation/boot_amx.sh --bochs FOLDER --packages FOLDER [options] --program FILE
       tests/emulation/boot_amx.sh --bochs FOLDER --packages FOLDER [options] -- COMMAND...

Boots Linux in Bochs, prints the guest's console and exits with the status of what ran there, 125 if there was none:
FILE, which is linked statically (tests/emulation/amx_driver.cpp); or COMMAND (one shell line, or words) in the checkout,
which goes into a disk image with Python and its packages, and takes far longer.

  --bochs FOLDER      where Bochs is installed: bin/bochs, share/bochs. github.com/bochs-emu/Bochs, mended where
                      bench/results/amx_emulated_processor.txt says, built by
                      ./configure --prefix=FOLDER --with-nogui --enable-cpu-level=6 --enable-x86-64 --enable-evex
                        --enable-amx --enable-avx --enable-all-optimizations --enable-handlers-chaining
  --packages FOLDER   Debian packages, unpacked and not installed:
                      apt-get download linux-image-6.1.0-50-cloud-amd64 busybox-static isolinux syslinux-common cpio \
                        xorriso libisoburn1 libburn4 libisofs6 libjte2
                      for deb in *.deb; do dpkg -x "$deb" FOLDER; done
  --python PROGRAM    its packages and its standard library go along (.venv/bin/python)
  --without FLAGS     names of /proc/cpuinfo, with commas, that the kernel shall not use, as amx_tile
  --memory MIB        of the guest (3072)
  --hours NUMBER      Bochs ends after them (6)
  --work FOLDER       disk.img, console and bochs.log stay there, and a disk.img of an earlier run is used again as it is
                      (a temporary folder, removed)
  --help
Bochs' licence is the LGPL; nothing of it is in this repository.
TEXT
}

fail() {
    printf 'boot_amx.sh: %s\n' "$1" >&2
    exit 2
}

root=$(cd "$(dirname "$0")/../.." && pwd)
bochs='' packages='' python=$root/.venv/bin/python without='' memory=3072 hours=6 work='' program=''
while (($#)); do
    case $1 in
    --help) usage && exit 0 ;;
    --) shift && break ;;
    --bochs | --packages | --python | --program | --without | --memory | --hours | --work)
        (($# > 1)) || fail "$1 needs a value"
        case $1 in
        --bochs) bochs=$2 ;; --packages) packages=$2 ;; --python) python=$2 ;; --program) program=$2 ;;
        --without) without=$2 ;; --memory) memory=$2 ;; --hours) hours=$2 ;; --work) work=$2 ;;
        esac
        shift 2
        ;;
    *) fail "unknown argument '$1'; see --help" ;;
    esac
done
[[ $# -gt 0 || -n $program ]] || fail 'neither --program nor COMMAND after --; see --help'
[[ $# -eq 0 || -z $program ]] || fail 'both --program and COMMAND; see --help'
[[ -n $bochs && -n $packages ]] || fail '--bochs and --packages are needed; see --help'
bochs=$(realpath "$bochs") packages=$(realpath "$packages")

export PATH=$packages/usr/bin:$packages/bin:/usr/sbin:/sbin:$PATH
libraries=$packages/usr/lib/x86_64-linux-gnu
firmware=$bochs/share/bochs
kernel=$(find "$packages/boot" -name 'vmlinuz-*cloud*' | sort -V | tail -1)
[[ -n $kernel ]] || fail "no boot/vmlinuz-*cloud* in $packages"
modules=$packages/lib/modules/${kernel##*/vmlinuz-}/kernel/drivers
wanted=("$bochs/bin/bochs" "$firmware/BIOS-bochs-latest" "$packages/bin/busybox" "$packages/usr/lib/ISOLINUX/isolinux.bin")
if [[ -n $program ]]; then wanted+=("$program"); else wanted+=("$python" "$root"/_dcrnn_fast_C.*.so); fi
for needed in "${wanted[@]}"; do
    [[ -e $needed ]] || fail "there is no $needed"
done
for tool in xorriso cpio mke2fs ldd; do
    command -v "$tool" >/dev/null || fail "there is no program $tool"
done

if [[ -z $work ]]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$work" && work=$(realpath "$work")
rm -rf "$work"/{disk,cd,initrd,disk.img.lock} && mkdir -p "$work"/{disk,cd,initrd}

# The disk: Python where it finds itself, the checkout, and the libraries that both were linked with.
make_disk() {
    disk=$work/disk
    mkdir -p "$disk"/{bin,dev,proc,sys,tmp,root,etc,lib64,python/bin,checkout}
    cp "$packages/bin/busybox" "$disk/bin/busybox"
    ln -s busybox "$disk/bin/sh"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$disk/etc/passwd"
    ask() { "$python" -c "import sys, sysconfig, os; print($1)"; }
    cp -L "$(ask 'os.path.realpath(sys.executable)')" "$disk/python/bin/python3"
    ln -s python3 "$disk/python/bin/python"
    standard=$(ask 'sysconfig.get_path("stdlib")')
    library=$disk/python/lib/$(basename "$standard")
    mkdir -p "$library/site-packages"
    tar -C "$standard" --exclude=./site-packages --exclude=./test --exclude='./config-*' -c . | tar -C "$library" -x
    tar -C "$(ask 'sysconfig.get_path("purelib")')" --exclude='__editable__*' --exclude=./triton --exclude=./torch/include \
        --exclude=./torch/test --exclude=./torch/bin --exclude='./pyarrow*' --exclude='./sympy/*/tests' -c . |
        tar -C "$library/site-packages" -x
    git -C "$root" ls-files -z | tar -C "$root" --null -T - -c | tar -C "$disk/checkout" -x
    cp -p "$root"/_dcrnn_fast_C.* "$disk/checkout"
    mapfile -t outside < <(find "$disk" -type f \( -name '*.so' -o -name '*.so.*' -o -name python3 \) -print0 |
        xargs -0 -n 100 ldd 2>/dev/null | grep -oE '(=> )?/[^ ]+ \(0x' | grep -oE '/[^ ]+' | grep -v "^$disk" | sort -u)
    for file in "${outside[@]}"; do
        cp -Ln "$file" "$disk/lib64/"
    done
    size=$(($(du -sm "$disk" | cut -f1) * 5 / 4 + 256))
    mke2fs -q -t ext4 -E root_owner=0:0 -O ^has_journal -d "$disk" "$work/disk.img" "${size}M"
}
[[ -n $program || -e $work/disk.img ]] || make_disk

# The CD: what starts the kernel, and the drivers that the disk needs.
mkdir -p "$work"/initrd/{bin,dev,new,proc}
[[ -z $program ]] || cp "$program" "$work/initrd/program"
cp "$packages/bin/busybox" "$work/initrd/bin"
cp "$modules"/scsi/{scsi_common,scsi_mod,sd_mod}.ko "$modules"/ata/{libata,ata_piix}.ko "$work/initrd"
cat >"$work/initrd/init" <<'TEXT'
#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t devtmpfs dev /dev
if [ -e /program ]; then
    $bb mount -t proc proc /proc
    $bb uname -srm
    $bb grep -m 1 'model name' /proc/cpuinfo
    /program
    echo "guest-status: $?"
    # The console is still being written.
    $bb sleep 1
    $bb poweroff -f
fi
for name in scsi_common scsi_mod libata ata_piix sd_mod; do $bb insmod /$name.ko; done
for try in 1 2 3 4 5 6 7 8 9; do [ -b /dev/sda ] || $bb sleep 1; done
if $bb mount -t ext4 /dev/sda /new; then
    $bb mount -t devtmpfs dev /new/dev
    $bb mkdir -p /new/dev/shm
    $bb mount -t proc proc /new/proc
    $bb mount -t sysfs sys /new/sys
    $bb mount -t tmpfs tmp /new/tmp
    $bb mount -t tmpfs shm /new/dev/shm
    $bb cp /run.sh /new/tmp/run.sh
    $bb chroot /new /bin/sh /tmp/run.sh </dev/null
    echo "guest-status: $?"
fi
$bb poweroff -f
TEXT
chmod +x "$work/initrd/init"
cat >"$work/initrd/run.sh" <<TEXT
export PATH=/python/bin:/bin HOME=/root LD_LIBRARY_PATH=/lib64 OMP_NUM_THREADS=1 MPLBACKEND=agg TERM=dumb
export PYTHONDONTWRITEBYTECODE=1
cd /checkout
$*
TEXT
(cd "$work/initrd" && find . | cpio -o -H newc --quiet) | gzip -1 >"$work/cd/initrd"
cp "$kernel" "$work/cd/vmlinuz"
cp "$packages/usr/lib/ISOLINUX/isolinux.bin" "$packages/usr/lib/syslinux/modules/bios/ldlinux.c32" "$work/cd"
# Bochs has the flag fsrm but not the register that says strings are fast: of the two Linux 6.1 makes a wrong memmove.
cat >"$work/cd/isolinux.cfg" <<TEXT
default linux
label linux
    kernel vmlinuz
    append initrd=initrd console=ttyS0,115200 mitigations=off nokaslr nowatchdog clearcpuid=fsrm${without:+,$without}
TEXT
LD_LIBRARY_PATH=$libraries xorriso -report_about WARNING -as mkisofs -o "$work/cd.iso" -b isolinux.bin -c boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$work/cd"

cat >"$work/bochsrc" <<TEXT
cpu: model=sapphire_rapids, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest=$memory, host=$memory
romimage: file=$firmware/BIOS-bochs-latest
vgaromimage: file=$firmware/VGABIOS-lgpl-latest.bin
display_library: nogui
boot: cdrom
${program:+# }ata0-master: type=disk, path=$work/disk.img, mode=flat
ata1-master: type=cdrom, path=$work/cd.iso, status=inserted
com1: enabled=1, mode=file, dev=$work/console
clock: sync=none, time0=utc
speaker: enabled=0
log: $work/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
TEXT
: >"$work/console"
# Powering off is a panic of Bochs, so its status says nothing.
nice -n 5 timeout "${hours}h" "$bochs/bin/bochs" -q -f "$work/bochsrc" >"$work/bochs.out" 2>&1 &
emulator=$!
tail -f --pid="$emulator" "$work/console"
wait "$emulator" || true
status=$(tr -d '\r' <"$work/console" | sed -n 's/^guest-status: //p' | tail -1)
[[ -n $status ]] || { echo 'boot_amx.sh: the guest ended without a status' >&2 && status=125; }
exit "$status"
