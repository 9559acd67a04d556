#!/usr/bin/env bash
# Make a base image from Debian's packages, where no registry of images can be reached:
#
#   docker/base-image.sh localhost/clipline-base:bookworm
#   make images BASE=localhost/clipline-base:bookworm
#
# Holds what Dockerfile.edge asks of its base, and no apt: Python with venv, useradd, the C++ library that wheels expect
# of a system, and certificates. Packages come from where this machine's apt gets its own.
set -euo pipefail
name=${1:?usage: docker/base-image.sh NAME}

for tool in buildah mmdebstrap; do
    command -v "$tool" >/dev/null || { echo "base-image.sh: needs $tool (Debian: apt install buildah mmdebstrap crun)" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "base-image.sh: needs root, to unpack packages" >&2; exit 1; }
# No user namespace or seccomp filter of its own, which machines inside of containers lack.
export BUILDAH_ISOLATION=chroot

scratch=$(mktemp -d)
container=
trap 'rm -rf "$scratch"; [ -z "$container" ] || buildah rm "$container" >/dev/null' EXIT
mmdebstrap --quiet --variant=essential --include=ca-certificates,libstdc++6,passwd,python3,python3-venv \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$scratch/root.tar"
container=$(buildah from scratch)
buildah add --quiet "$container" "$scratch/root.tar" / >/dev/null
buildah commit --quiet --format docker "$container" "$name" >/dev/null
buildah images "$name"
