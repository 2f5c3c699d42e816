#!/usr/bin/env bash
# README's two commands on a bare Debian: make, python3, git and ca-certificates, nothing else.
#
#   sudo tools/chroot.sh bookworm              make book, then make test, as root
#   sudo tools/chroot.sh trixie user           the same as a user, with python3-venv installed
#   sudo tools/chroot.sh trixie root make book  any other command
#
# Needs root and debootstrap; keeps the system in $CHROOTS (by default /var/tmp/fcn-chroots) and
# makes the checkout in it anew from the last commit. pip's settings travel: /etc/pip.conf,
# /etc/xdg/pip and the environment. BIND names folders that are to be seen inside as well.
set -euo pipefail

suite="${1:?a suite of Debian: bookworm or trixie}"
who="${2:-root}"
shift "$(($# < 2 ? $# : 2))"
command="${*:-make book && make test}"
source="$(git -C "$(dirname "$0")" rev-parse --show-toplevel)"
system="${CHROOTS:-/var/tmp/fcn-chroots}/$suite"
packages=make,python3,git,ca-certificates

if [ ! -d "$system/etc" ]; then
  debootstrap --variant=minbase --include="$packages" "$suite" "$system"
fi

# One at a time in each system.
exec 9>"$system.lock"
flock 9

mounted=()
release() {
  for folder in "${mounted[@]}"; do umount --lazy "$folder"; done
}
trap release EXIT
mount_at() {
  mkdir -p "$system$2"
  mount "${@:3}" "$1" "$system$2"
  mounted=("$system$2" "${mounted[@]}")
}
mount_at proc /proc -t proc
# With what is mounted below: shared memory, which a user cannot make in /dev itself, and terminals.
mount_at /dev /dev --rbind
mount --make-rslave "$system/dev"  # or its release would release the machine's own
for folder in ${BIND:-}; do mount_at "$folder" "$folder" --bind; done

for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
  if [ -e "$file" ]; then cp -L "$file" "$system$file"; fi
done
if [ -d /etc/xdg/pip ]; then mkdir -p "$system/etc/xdg" && cp -rL /etc/xdg/pip "$system/etc/xdg/"; fi

inside() { chroot "$system" env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
if [ "$who" = user ]; then
  inside sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv'
  inside sh -c 'id reader >/dev/null 2>&1 || useradd --create-home --shell /bin/bash reader'
  home=/home/reader owner=reader
else
  home=/root owner=root
fi
rm -rf "$system$home/fcn-tutorial"
git clone --quiet --no-hardlinks "$source" "$system$home/fcn-tutorial"
inside chown -R "$owner" "$home/fcn-tutorial"
inside su "$owner" --preserve-environment -c \
  "export HOME=$home && cd $home/fcn-tutorial && $command"
