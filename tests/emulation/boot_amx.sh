#!/usr/bin/env bash
# Runs a program on an emulated Intel Sapphire Rapids under Linux: its AMX instructions, cpuid and the kernel's
# permission, which this machine may lack. Times there mean nothing.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tests/emulation/boot_amx.sh --bochs FOLDER --packages FOLDER --program FILE [options]

Boots Linux in Bochs, prints the guest's console and exits with the program's status, 125 if there was none. For the AMX
units: tests/emulation/amx_driver.cpp, linked with -static with all objects of csrc/cpu that the build made.

  --program FILE      linked statically
  --bochs FOLDER      where Bochs is: bin/bochs, share/bochs. github.com/bochs-emu/Bochs, mended where
                      bench/results/amx_emulated_processor.txt says, and configured as it says
  --packages FOLDER   Debian packages, unpacked and not installed:
                      apt-get download linux-image-6.1.0-50-cloud-amd64 busybox-static isolinux syslinux-common cpio \
                        xorriso libisoburn1 libburn4 libisofs6 libjte2
                      for deb in *.deb; do dpkg -x "$deb" FOLDER; done
  --memory MIB        of the guest (1024)
  --hours NUMBER      Bochs ends after them (2)
  --work FOLDER       console and bochs.log stay there (a temporary folder, removed)
  --help
Bochs' licence is the LGPL; nothing of it is in this repository.
TEXT
}

fail() {
    printf 'boot_amx.sh: %s\n' "$1" >&2
    exit 2
}

bochs='' packages='' memory=1024 hours=2 work='' program=''
while (($#)); do
    case $1 in
    --help) usage && exit 0 ;;
    --bochs | --packages | --program | --memory | --hours | --work)
        (($# > 1)) || fail "$1 needs a value"
        declare "${1#--}=$2"
        shift 2
        ;;
    *) fail "unknown argument '$1'; see --help" ;;
    esac
done
[[ -n $bochs && -n $packages && -n $program ]] || fail '--bochs, --packages and --program are needed; see --help'
bochs=$(realpath "$bochs") packages=$(realpath "$packages")

export PATH=$packages/usr/bin:$packages/bin:$PATH
firmware=$bochs/share/bochs
kernel=$(find "$packages/boot" -name 'vmlinuz-*cloud*' | sort -V | tail -1)
[[ -n $kernel ]] || fail "no boot/vmlinuz-*cloud* in $packages"
for needed in "$bochs/bin/bochs" "$firmware/BIOS-bochs-latest" "$packages/bin/busybox" \
    "$packages/usr/lib/ISOLINUX/isolinux.bin" "$program"; do
    [[ -e $needed ]] || fail "there is no $needed"
done
for tool in xorriso cpio; do
    command -v "$tool" >/dev/null || fail "there is no program $tool"
done

if [[ -z $work ]]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$work" && work=$(realpath "$work")
rm -rf "$work"/{cd,initrd} && mkdir -p "$work"/{cd,initrd}

mkdir -p "$work"/initrd/{bin,dev,proc}
cp "$program" "$work/initrd/program"
cp "$packages/bin/busybox" "$work/initrd/bin"
cat >"$work/initrd/init" <<'TEXT'
#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t devtmpfs dev /dev
$bb mount -t proc proc /proc
$bb uname -srm
$bb grep -m 1 'model name' /proc/cpuinfo
/program
echo "guest-status: $?"
# The console is still being written.
$bb sleep 1
$bb poweroff -f
TEXT
chmod +x "$work/initrd/init"
(cd "$work/initrd" && find . | cpio -o -H newc --quiet) | gzip -1 >"$work/cd/initrd"
cp "$kernel" "$work/cd/vmlinuz"
cp "$packages/usr/lib/ISOLINUX/isolinux.bin" "$packages/usr/lib/syslinux/modules/bios/ldlinux.c32" "$work/cd"
# Bochs has the flag fsrm but not the register that says strings are fast: of the two Linux 6.1 makes a wrong memmove.
cat >"$work/cd/isolinux.cfg" <<'TEXT'
default linux
label linux
    kernel vmlinuz
    append initrd=initrd console=ttyS0,115200 mitigations=off nokaslr nowatchdog clearcpuid=fsrm
TEXT
LD_LIBRARY_PATH=$packages/usr/lib/x86_64-linux-gnu xorriso -report_about WARNING -as mkisofs -o "$work/cd.iso" \
    -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table "$work/cd"

cat >"$work/bochsrc" <<TEXT
cpu: model=sapphire_rapids, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest=$memory, host=$memory
romimage: file=$firmware/BIOS-bochs-latest
vgaromimage: file=$firmware/VGABIOS-lgpl-latest.bin
display_library: nogui
boot: cdrom
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
