#!/usr/bin/env bash
# make_tree.sh SUITE FOLDER PACKAGE...: packages of a release of Debian, unpacked into a folder, as root.
# They come from this machine's own mirror, by its apt's settings. Nothing is done if it is there;
# FOLDER appears when it is whole.
set -euo pipefail
suite=$1 folder=$2
shift 2
packages=$*
note=$folder/.made-of
if [ -f "$note" ] && [ "$(<"$note")" = "$packages" ]; then exit 0; fi
echo "unpacking Debian $suite into $folder"

mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT

mirror() {
    # shellcheck disable=SC2016  # apt's variables, not the shell's
    apt-get indextargets --format '$(SITE)' 'Origin: Debian' 'Label: Debian' | head -n 1
}
[ -n "$(mirror)" ] || apt-get update -q >"$work/log" 2>&1 || true
read -r -a named <<<"$(mirror)" # none: the tool has a default

# proxies, and whether an old list is taken, as a mirror that stands still needs it
apt-config dump Acquire | grep -E '^Acquire::(https?|Retries|Check-)' >"$work/apt.conf" || true

mmdebstrap --mode=root --variant=extract --aptopt="$work/apt.conf" \
    --include="${packages// /,}" "$suite" "$work/tree" "${named[@]}" >"$work/log" 2>&1 || {
    tail -n 20 "$work/log" >&2
    echo "make_tree.sh: cannot unpack Debian $suite" >&2
    exit 1
}
echo "$packages" >"$work/tree/.made-of"
if [ -e "$folder" ]; then mv -T "$folder" "$work/old"; fi
mv -T "$work/tree" "$folder"
