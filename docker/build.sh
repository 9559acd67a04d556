#!/usr/bin/env bash
# Build images without a daemon and print their sizes: docker/build.sh edge|full …     (make images)
#
#   BASE=NAME          another base image for the edge image, see Dockerfile.edge
#   TORCH_INDEX=URL    where the full image has its torch from, see Dockerfile
#
# pip's settings in the environment (PIP_INDEX_URL, PIP_CERT …) hold for the build as well, and stay out of the image.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v buildah >/dev/null || { echo "docker/build.sh: needs buildah (Debian: apt install buildah crun), or use docker build: docs/images.md" >&2; exit 1; }
# No user namespace or seccomp filter of its own, which machines inside of containers lack.
export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' consumers/__init__.py)
secrets=$(mktemp -d)
trap 'rm -rf "$secrets"' EXIT
{
    echo "[global]"
    [ -z "${PIP_INDEX_URL:-}" ] || echo "index-url = $PIP_INDEX_URL"
    [ -z "${PIP_CERT:-}" ] || echo "cert = /etc/pip-ca.pem"
    echo "timeout = ${PIP_DEFAULT_TIMEOUT:-60}"
} >"$secrets/pip.conf"
cat ${PIP_CERT:+"$PIP_CERT"} </dev/null >"$secrets/ca.pem"

build() {  # FILE NAME ARGUMENTS…
    local begun=$SECONDS
    # Docker's format: the other one has no health checks.
    buildah build --pull=false --format docker "${@:3}" --secret id=pip,src="$secrets/pip.conf" \
        --secret id=ca,src="$secrets/ca.pem" --file "$1" --tag "$2" .
    echo "$2: $(buildah images --format '{{.Size}}' "localhost/$2"), built in $((SECONDS - begun)) s"
}

for image in "$@"; do
    case $image in
    edge) build docker/Dockerfile.edge "clipline-edge:$version" ${BASE:+--build-arg "BASE=$BASE"} ;;
    full) build docker/Dockerfile "clipline:$version" --build-arg "EDGE=localhost/clipline-edge:$version" ${TORCH_INDEX:+--build-arg "TORCH_INDEX=$TORCH_INDEX"} ;;
    *) echo "docker/build.sh: no image '$image'; there are edge and full" >&2; exit 2 ;;
    esac
done
