"""The key that signs bundles: ed25519, in a file that only its owner can read.

A key's fingerprint is "sha256:" and the SHA-256 of its 32 public bytes, in hexadecimal.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from consumers.settings import SettingsError
from stream import SourceError, display_name

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

log = logging.getLogger(__name__)

ALGORITHM: Final = "ed25519"
_FINGERPRINT: Final = re.compile(r"sha256:[0-9a-f]{64}")
#: Of a file of a key.
_MAX_BYTES: Final = 16 * 1024
#: Of a file system without hard links, such as exFAT and some that containers share with their hosts.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key."""

    path: Path
    #: Its 32 public bytes.
    public: bytes
    #: The public key as PEM, for whoever is to check what it has signed.
    public_pem: str
    _private: Ed25519PrivateKey = field(repr=False)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.public)

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`, 64 bytes."""
        return self._private.sign(data)


def fingerprint(public: bytes) -> str:
    """The short name of a public key, by which people compare it."""
    return f"sha256:{hashlib.sha256(public).hexdigest()}"


def key_path(path: Path) -> Path:
    """Where the settings have the key, with `~` resolved.

    Raises:
        SettingsError: nobody's home is known.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise SettingsError(f"evidence.key: {display_name(str(path))}: there is no home directory") from None


def signer_at(path: Path) -> tuple[Signer, bool]:
    """The key of a file, and whether it was made now since there was none.

    Raises:
        SettingsError: the file is none of such a key, or cannot be read or made.
    """
    is_new = not path.exists() and _make(path)
    return existing_signer(path), is_new


def existing_signer(path: Path) -> Signer:
    """The key of a file that there is.

    Raises:
        SettingsError: likewise, or there is no such file.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  an extra
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            pem, mode = file.read(_MAX_BYTES), os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise SettingsError(f"evidence.key: {path} cannot be read ({error.strerror})") from None
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise SettingsError(f"evidence.key: {path}: expected an ed25519 private key, PEM without a password")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        log.warning("%s can be used by other users than its owner: chmod 600 it", path)
    public = private.public_key()
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    text = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Signer(path, raw, text.decode("ascii"), private)


def _make(path: Path) -> bool:
    """Make a key; False where another process was faster."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  an extra
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(unfinished, pem)
        try:
            # Whole or not at all, and never over a key that there is.
            os.link(unfinished, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with contextlib.suppress(FileExistsError):
                _write(path, pem)
                return True
            return False
    except OSError as error:
        raise SettingsError(f"evidence.key: {path} cannot be made ({error.strerror})") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return True


def _write(path: Path, pem: bytes) -> None:
    """Write a file that there is not yet; raises OSError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def public_fingerprint(said: str) -> str:
    """The fingerprint of the public key that somebody names: by that itself, or by a file of it, PEM.

    Raises:
        SourceError: it is neither.
    """
    if _FINGERPRINT.fullmatch(said.lower()):
        return said.lower()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  an extra
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        with Path(said).open("rb") as file:
            pem = file.read(_MAX_BYTES)
    except OSError as error:
        raise SourceError(
            f"{said}: neither a fingerprint (sha256: and 64 digits) nor a file that can be read ({error.strerror})"
        ) from None
    try:
        found = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, Ed25519PublicKey):
        raise SourceError(f"{said}: expected an ed25519 public key, PEM, as `clipline evidence key` prints it")
    return fingerprint(found.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


def holds(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether whoever has the private key of `public` signed `data`."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  an extra
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
